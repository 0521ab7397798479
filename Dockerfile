# JupyterLab with this package, on http://127.0.0.1:8888 with the token that it prints:
#   docker build -t pocketnets .
#   docker run --rm -it -p 127.0.0.1:8888:8888 -v "$PWD/notebooks:/home/researcher/notebooks" pocketnets
# A container's loopback reaches nobody, so JupyterLab listens on all of its addresses; `-p 127.0.0.1:` keeps it on
# this machine. The mounted folder is written by user 1000, the first one of most machines: is `id -u` another one,
# build with --build-arg USER_ID="$(id -u)". compose.yaml adds an MLflow server, PostgreSQL and a sweep.
# For x86-64 only: coremltools has no wheels for Linux on other processors.
FROM python:3.11-slim-bookworm

ARG USER_ID=1000
RUN useradd --create-home --shell /bin/bash --uid "$USER_ID" researcher

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

# What is installed, at the versions that CI tests: a layer that a change of the code leaves alone. TensorFlow without
# CUDA, which takes 0.6 GB less.
WORKDIR /opt/pocketnets
COPY setup.cfg pyproject.toml constraints.txt ./
RUN sed -i -E 's/^( *)tensorflow( |==)/\1tensorflow-cpu\2/' setup.cfg constraints.txt && \
    pip install --compile --constraint constraints.txt '.[notebooks,postgres]'

COPY README.md LICENSE ./
COPY architectures/ architectures/
COPY experiments/ experiments/
COPY conversion/ conversion/
COPY search/ search/
COPY pocketnets/ pocketnets/
RUN pip install --compile --no-deps --force-reinstall . && \
    rm -rf build ./*.egg-info

# Folders that a volume is mounted on: a new volume has the owner of the folder.
USER $USER_ID
WORKDIR /home/researcher
RUN mkdir notebooks artifacts

EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--ServerApp.root_dir=/home/researcher/notebooks"]
