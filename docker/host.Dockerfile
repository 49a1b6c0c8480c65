# Pruning and training on a machine with an NVIDIA GPU; CUDA comes with PyTorch's wheels, the driver from the host.
#
#   docker build -f docker/host.Dockerfile -t jetpress .
#   docker run --rm --gpus all -v "$PWD:/home/jetpress/job" jetpress run digits --target host
#   docker build -f docker/host.Dockerfile --target jupyter -t jetpress-jupyter .    (optional)
#
# DIGEST pins the base image to its bytes (see docker/README.md): Python 3.12.15. Empty: the tag's newest.
ARG DIGEST="@sha256:34386ef0cb081344d7ec1c103ba398e6e9f64e9ab3a1509accc92a4e24a07258"
FROM python:3.12-slim-bookworm${DIGEST} AS host
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Debian keeps one version of a package at a time: the digest of the base pins what is installed by it.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make openssh-client \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --user-group --uid 1000 jetpress \
 && install --directory --owner 1000 --group 1000 /home/jetpress/job
COPY requirements.lock /opt/jetpress/
RUN python -m pip install --require-hashes -r /opt/jetpress/requirements.lock
COPY pyproject.toml README.md LICENSE /opt/jetpress/
COPY pipeline /opt/jetpress/pipeline
COPY deploy /opt/jetpress/deploy
COPY benchmarks /opt/jetpress/benchmarks
COPY recipes /opt/jetpress/recipes
COPY docs /opt/jetpress/docs
COPY jetpress /opt/jetpress/jetpress
RUN python -m pip install --no-deps --no-build-isolation /opt/jetpress
USER 1000:1000
WORKDIR /home/jetpress/job
ENTRYPOINT ["jetpress"]
CMD ["check"]

FROM host AS jupyter
USER 0
COPY docker/jupyter.lock /opt/jetpress/
RUN python -m pip install --require-hashes -r /opt/jetpress/jupyter.lock
USER 1000:1000
EXPOSE 8888
ENTRYPOINT ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
CMD []

# For docker/kuberay.yaml; KubeRay asks its pods how they are by wget.
FROM host AS ray
USER 0
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends wget \
 && rm -rf /var/lib/apt/lists/*
COPY docker/ray.lock /opt/jetpress/
RUN python -m pip install --require-hashes -r /opt/jetpress/ray.lock
USER 1000:1000
ENTRYPOINT []
CMD ["bash"]

# Last, so that it is what `docker build` makes when nothing else is said.
FROM host
