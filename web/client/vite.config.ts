import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'

const server = process.env['LATENTHASH_SERVER'] ?? 'http://127.0.0.1:8000'

export default defineConfig({
  plugins: [vue()],
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  // `npm run dev` shows the page; what it asks for comes from a running tools/serve.py.
  server: {
    proxy: Object.fromEntries(
      ['/api', '/thumbnails', '/images', '/uploads'].map((path) => [path, server]),
    ),
  },
})
