"""The service: a catalogue of images and what searches it."""
