# The runner on JetPack 7.2 (L4T R39: Orin, Thor). TensorRT 10.16 is inside, the one that this JetPack carries.
#
#   docker build -f docker/jetson-jp72.Dockerfile -t jetpress-runner:jp72 .
#   docker run --rm --runtime nvidia --group-add video -v "$PWD/bundle:/bundle" jetpress-runner:jp72 build
#
# DIGEST pins the base image to its bytes: --build-arg DIGEST=@sha256:... (see docker/README.md). Empty: the tag's newest.
ARG DIGEST=""
FROM python:3.12-slim-bookworm@sha256:34386ef0cb081344d7ec1c103ba398e6e9f64e9ab3a1509accc92a4e24a07258 AS pack
WORKDIR /src
COPY deploy /src/jetpress/deploy
RUN python -m jetpress.deploy.pack /runner.pyz

FROM nvcr.io/nvidia/tensorrt:26.05-py3${DIGEST}
# TensorRT's Python package needs numpy, and NVIDIA's image may come without it.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-numpy \
 && rm -rf /var/lib/apt/lists/*
COPY --from=pack /runner.pyz /opt/jetpress/runner.pyz
USER 1000:44
WORKDIR /bundle
ENTRYPOINT ["python3", "/opt/jetpress/runner.pyz"]
CMD ["doctor"]
