# Every target runs from a fresh clone: build, demo, test, bench, lint.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO      ?= go
BIN     := bin

.PHONY: build demo test soak bench lint deps clean install install-uwsgi-name tour

# Static binaries, so that they run in any container and for any user.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/ ./cmd/emperord ./cmd/vassald ./cmd/emperorctl

# An emperor with three example vassals and an HTTP front; prints what to try. Ctrl-C ends it.
demo: build
	@sh cmd/e2e/install.sh demo
	$(BIN)/emperorctl demo

# Everything: unit, race, fuzz seeds, layers, end to end with real nginx, uWSGI, Django and Flask, and a Debian that is booted
# (debootstrap, systemd-nspawn; TREE=/folder keeps what debootstrap has made for the next time). As root it
# installs what is missing; as an ordinary user the tests of rights are skipped (never where CI is set).
test: deps
	$(GO) vet ./...
	@if command -v gcc >/dev/null; then set -x; $(GO) test -race -timeout 20m ./... && $(GO) test -run '^TestAThousandVassals$$' ./emperor; \
	else echo "no C compiler: the tests run without the race detector"; set -x; $(GO) test -timeout 20m ./...; fi

deps:
	@sh cmd/e2e/install.sh

# A hundred vassals live through everything for longer than the minute that `make test` gives them: make soak SOAK=8h
SOAK ?= 30m
soak: deps
	EMPERORD_SOAK=$(SOAK) $(GO) test ./cmd/e2e -run '^TestSoak$$' -count 1 -timeout 0 -v

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run: gofmt -w ."; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

# Measures side by side with the installed uWSGI: about ten minutes on a quiet machine.
bench: build deps
	$(GO) test ./configs -run '^$$' -bench 'Resolve40Lines|Resolve10000'
	$(GO) run ./cmd/e2e/bench -bin $(BIN)

clean:
	rm -rf $(BIN)

# Installs into DESTDIR: programs, systemd unit, completion for bash, zsh and fish, and a configuration where there is none.
PREFIX ?= /usr/local
install:
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/etc/systemd/system $(DESTDIR)/etc/emperord $(DESTDIR)/etc/uwsgi-emperor/vassals
	install $(BIN)/emperord $(BIN)/vassald $(BIN)/emperorctl $(DESTDIR)$(PREFIX)/bin/
	sed 's#/usr/local/bin/#$(PREFIX)/bin/#' configs/dist/emperord.service >$(DESTDIR)/etc/systemd/system/emperord.service
	v=$$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p'); if [ "$${v:-999}" -lt 253 ]; then \
		install -d $(DESTDIR)/etc/systemd/system/emperord.service.d && install -m 644 configs/dist/systemd-252.conf $(DESTDIR)/etc/systemd/system/emperord.service.d/; \
	else rm -f $(DESTDIR)/etc/systemd/system/emperord.service.d/systemd-252.conf; fi
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	for p in emperord vassald; do \
		install -m 644 configs/dist/completion/$$p.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$p && \
		install -m 644 configs/dist/completion/_$$p $(DESTDIR)$(PREFIX)/share/zsh/site-functions/ && \
		install -m 644 configs/dist/completion/$$p.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ || exit 1; done
	$(BIN)/emperorctl completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/emperorctl
	$(BIN)/emperorctl completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_emperorctl
	$(BIN)/emperorctl completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/emperorctl.fish
	test -e $(DESTDIR)/etc/emperord/emperor.ini || install -m 644 configs/dist/emperor.ini $(DESTDIR)/etc/emperord/

# A link named uwsgi beside emperord, for units and scripts that call uwsgi. What is there already stays.
install-uwsgi-name:
	@test ! -e $(DESTDIR)$(PREFIX)/bin/uwsgi && test ! -L $(DESTDIR)$(PREFIX)/bin/uwsgi || { echo "$(DESTDIR)$(PREFIX)/bin/uwsgi is there already; it was left as it is" >&2; exit 1; }
	ln -s emperord $(DESTDIR)$(PREFIX)/bin/uwsgi

# Runs the README's tour, block by block as printed, in a freshly booted Debian (systemd-nspawn, debootstrap; as root).
tour: build
	sh cmd/e2e/tour.sh
