# The runner on JetPack 4.6 (L4T R32.7: Nano, TX2, Xavier). CUDA and TensorRT are mounted from the board; the image brings numpy.
#
#   docker build -f docker/jetson-jp4.Dockerfile -t jetpress-runner:jp4 .
#   docker run --rm --runtime nvidia --group-add video -v "$PWD/bundle:/bundle" jetpress-runner:jp4 build
#
# DIGEST pins the base image to its bytes: --build-arg DIGEST=@sha256:... (see docker/README.md). Empty: the tag's newest.
ARG DIGEST=""
FROM python:3.12-slim-bookworm@sha256:34386ef0cb081344d7ec1c103ba398e6e9f64e9ab3a1509accc92a4e24a07258 AS pack
WORKDIR /src
COPY deploy /src/jetpress/deploy
RUN python -m jetpress.deploy.pack /runner.pyz

FROM nvcr.io/nvidia/l4t-ml:r32.7.1-py3${DIGEST}
COPY --from=pack /runner.pyz /opt/jetpress/runner.pyz
USER 1000:44
WORKDIR /bundle
ENTRYPOINT ["python3", "/opt/jetpress/runner.pyz"]
CMD ["doctor"]
