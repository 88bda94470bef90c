# emperord as PID 1 of a container. Mount the vassal files at /etc/uwsgi-emperor/vassals and the folder of the sockets
# at /run/uwsgi, which the web server's container shares.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build VERSION=container

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /etc/uwsgi-emperor/vassals
COPY --from=build /src/bin/emperord /src/bin/vassald /src/bin/emperorctl /usr/local/bin/
STOPSIGNAL SIGTERM
ENTRYPOINT ["emperord", "--emperor", "/etc/uwsgi-emperor/vassals"]
CMD ["--emperor-tyrant"]
