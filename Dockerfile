# clipbench in a container:   docker build --tag clipbench .
# with CUDA:                  docker build --tag clipbench --build-arg TORCH=https://download.pytorch.org/whl/cu128 .
# run it:                     docker run --rm --volume clipbench-cache:/cache --volume "$PWD/runs:/runs" clipbench run --model tiny --suite scenes
FROM python:3.12-slim

# The index of torch's wheels: the CPU's are a tenth of the size.
ARG TORCH=https://download.pytorch.org/whl/cpu

RUN useradd --create-home --uid 1000 clipbench && install --directory --owner clipbench /cache /runs
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY clipbench clipbench
COPY tasks tasks
COPY reports reports
RUN pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH" --extra-index-url https://pypi.org/simple torch torchvision \
  && pip install --no-cache-dir --constraint constraints.txt .

USER 1000:1000
WORKDIR /runs
ENV CLIPBENCH_CACHE=/cache/clipbench HF_HOME=/cache/huggingface MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba
VOLUME ["/cache", "/runs"]
ENTRYPOINT ["clipbench"]
CMD ["--help"]
