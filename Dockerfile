# The image: one static program, the certificate authorities of the web, an empty state folder. No shell, no libc.
#
#   docker build -t verkada2mqtt .
#   docker run -d --name verkada2mqtt --restart on-failure --read-only --cap-drop ALL --security-opt no-new-privileges \
#     --memory 512m --pids-limit 64 \
#     -v ./config.yaml:/etc/verkada2mqtt/config.yaml:ro -v ./secrets:/run/secrets:ro \
#     -v verkada2mqtt:/var/lib/verkada2mqtt verkada2mqtt
#
# Configuration and secrets must be readable by user 65532, and the secrets by nobody else. Other commands of the program
# take the place of `run`: `docker run --rm verkada2mqtt schema`.

# The tag tells people what this is; the digest behind it may change. To pin the very bytes, append what
#   docker buildx imagetools inspect rust:1.95.0-alpine3.22 --format '{{.Manifest.Digest}}'
# prints: rust:1.95.0-alpine3.22@sha256:...
FROM rust:1.95.0-alpine3.22 AS build
WORKDIR /source
COPY . .
# On Alpine the target is musl, and the program is static. The caches stay with the builder.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin verkada2mqtt \
    && mkdir -p /image/etc/ssl/certs /image/licenses /image/var/lib /state \
    && cp target/release/verkada2mqtt /image/ \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && cp LICENSE* /image/licenses/

FROM scratch
LABEL org.opencontainers.image.title="verkada2mqtt" \
      org.opencontainers.image.description="Verkada doors as MQTT locks and scenarios as MQTT switches" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /state /var/lib/verkada2mqtt
VOLUME /var/lib/verkada2mqtt
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["/verkada2mqtt", "healthcheck"]
ENTRYPOINT ["/verkada2mqtt"]
CMD ["run"]
