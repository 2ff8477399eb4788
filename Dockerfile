# docker build -t forget . && docker run --rm -p 127.0.0.1:8888:8888 forget     then open the address that it prints
FROM python:3.11-slim
WORKDIR /forget
COPY . .
RUN .devcontainer/setup.sh && useradd --create-home reader && chown -R reader /forget
USER reader
EXPOSE 8888
CMD ["python", "-m", "jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "notebooks"]
