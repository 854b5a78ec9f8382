# The search service and all tools; docs/docker.md tells how to use it.
#
#   docker build -t latenthash .                                         CPUs
#   docker build -t latenthash:cuda --build-arg BACKEND=cuda .           NVIDIA's GPUs, Turing and later
#   docker build -t latenthash:cuda-legacy --build-arg BACKEND=cuda-legacy .     those before
ARG DEBIAN=debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
ARG NODE=node:22.22.0-bookworm-slim@sha256:dd9d21971ec4395903fa6143c2b9267d048ae01ca6d3ea96f16cb30df6187d94

# ---- the page
FROM ${NODE} AS page
WORKDIR /app
COPY scripts/build_page.sh scripts/
COPY web/client web/client
RUN scripts/build_page.sh && test -f web/client/dist/index.html

# ---- Python packages and Caffe
FROM ${DEBIAN} AS builder
ARG BACKEND=cpu
# GPUs to compile for, as "75;90"; default: in docker/build.sh
ARG CUDA_ARCH
# of pyproject.toml
ARG EXTRAS=web,hash,milvus
WORKDIR /app
COPY . .
RUN --mount=type=cache,target=/root/.cache docker/build.sh

# ---- what runs
FROM ${DEBIAN}
LABEL org.opencontainers.image.title=LatentHash \
      org.opencontainers.image.licenses=BSD-2-Clause
WORKDIR /app
COPY --from=builder /opt/caffe/share/packages.txt /opt/caffe/share/
# No versions: the newest security fixes of Debian 12.
# hadolint ignore=DL3008
RUN apt-get update \
 && xargs -a /opt/caffe/share/packages.txt \
      apt-get install -y --no-install-recommends ca-certificates curl python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home latenthash
COPY --from=builder /opt/caffe /opt/caffe
COPY --from=builder /app /app
COPY --from=page /app/web/client/dist web/client/dist
# Only these are written: what is built, image sets, weights.
RUN mkdir -p run && chown -R latenthash: run data caffe_models
VOLUME ["/app/run", "/app/data", "/app/caffe_models"]

USER 10001:10001
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LATENTHASH_CAFFE=/opt/caffe \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 8000
# The first start trains the demo.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10m --retries=3 \
  CMD ["python", "docker/healthcheck.py"]
CMD ["docker/serve.sh"]
