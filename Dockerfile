# clipbench in a container:   docker build --tag clipbench .
# with CUDA:                  docker build --tag clipbench --build-arg TORCH=https://download.pytorch.org/whl/cu128 .
# run it:                     docs/install.md
FROM python:3.12-slim

# The index of torch's wheels: the CPU's are a tenth of the size.
ARG TORCH=https://download.pytorch.org/whl/cpu

# Whoever runs it may write here: a folder of the host belongs to a user that the image does not know.
RUN install --directory --mode 1777 /cache /runs
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY clipbench clipbench
COPY tasks tasks
COPY reports reports
COPY docs/schemas docs/schemas
RUN pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH" --extra-index-url https://pypi.org/simple torch torchvision \
  && pip install --no-cache-dir --constraint constraints.txt .

USER 1000:1000
WORKDIR /runs
ENV HOME=/tmp CLIPBENCH_CACHE=/cache/clipbench HF_HOME=/cache/huggingface MPLCONFIGDIR=/cache/matplotlib NUMBA_CACHE_DIR=/cache/numba
VOLUME ["/cache", "/runs"]
ENTRYPOINT ["clipbench"]
CMD ["--help"]
