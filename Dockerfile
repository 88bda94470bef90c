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
# PID 1 ends within 8 s of this signal, because docker stop waits 10 s; --reload-mercy SECONDS gives requests more time.
STOPSIGNAL SIGTERM
HEALTHCHECK CMD ["emperorctl", "status"]
ENTRYPOINT ["emperord", "--emperor", "/etc/uwsgi-emperor/vassals"]
# Each application runs as the owner of its file. A container that does not start as root runs all of them as its own user, which
# needs no name; any other option takes the place of this one then:
#   docker run --user 1001:0 --read-only --tmpfs /run:mode=1777 IMAGE --emperor-freq 3
CMD ["--emperor-tyrant"]
