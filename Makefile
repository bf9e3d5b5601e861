# spendd - every target; `make help` prints them.  Sources are found by wildcard, everything is built
# under build/MODE; one executable per row of workers/roster.def, linked with that row's libraries only.

MODE    ?= release
BUILD   ?= build/$(MODE)
PREFIX  ?= /usr/local
VERSION := 0.1.0
BUILD_ID := $(VERSION)-$(shell git rev-parse --short=12 HEAD 2>/dev/null || echo source)

PKG_CONFIG ?= pkg-config
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wswitch-enum -Wstrict-prototypes -Wmissing-prototypes
# A mutant is broken on purpose: what it leaves unused is no error.
WARNINGS += $(if $(CI),$(if $(MUTANT),,-Werror))
# A distribution's own flags come in CPPFLAGS, CFLAGS and LDFLAGS of the environment; what they say of
# _FORTIFY_SOURCE stands.
FORTIFY := $(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,-D_FORTIFY_SOURCE=2)
HARDENING := -fstack-protector-strong -fstack-clash-protection $(FORTIFY) -fPIE
# No path of the machine that builds is in what it builds: the same sources are the same bytes anywhere.
HARDENING += -ffile-prefix-map=$(CURDIR)=.
LINK_HARDENING := -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed

CFLAGS_release := -O2 -g $(HARDENING)
CFLAGS_debug   := -O0 -g3
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
LDFLAGS_release := $(LINK_HARDENING)
LDFLAGS_debug   :=
LDFLAGS_asan    := -fsanitize=address,undefined

# MUTANT=name builds a variant whose custody is broken on purpose (tests/mutants); never installed.
CPPFLAGS += -I. -D_GNU_SOURCE -MMD -MP $(if $(MUTANT),-DMUTANT_$(MUTANT))
CFLAGS   += -std=c11 $(WARNINGS) $(CFLAGS_$(MODE))
LDFLAGS  += $(LDFLAGS_$(MODE))

# --- what there is -------------------------------------------------------------------------------
row       = $(shell sed -n 's/^WORKER.$(1),[^"]*"\([^"]*\)".*/\1/p' workers/roster.def)
WORKERS  := $(shell sed -n 's/^WORKER.\([a-z_]*\),.*/\1/p' workers/roster.def)
ROOM_LIBS := libzmq yajl libsodium hiredis libpq libconfig openssl libcurl libmicrohttpd zlib

COMMON_SRC := $(wildcard common/*/*.c)
COMMON_OBJ := $(COMMON_SRC:%.c=$(BUILD)/%.o)
LIBSPENDD  := $(BUILD)/libspendd.a

SPENDCTL_SRC   := $(wildcard supervisor/spendctl*.c)
SUPERVISOR_SRC := $(filter-out $(SPENDCTL_SRC),$(wildcard supervisor/*.c))

WORKER_EXE := $(WORKERS:%=$(BUILD)/libexec/spendd/%)
SPENDD     := $(BUILD)/bin/spendd
SPENDCTL   := $(BUILD)/bin/spendctl

ROOM_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(ROOM_LIBS) 2>/dev/null)

# One short line for each command; V=1 shows the command itself.
run = $(if $(V),,@echo '  $(1)  $@'; )$(2)

.PHONY: all debug asan
all: $(SPENDD) $(SPENDCTL) $(WORKER_EXE) ## build everything (MODE=release|debug|asan)
debug: ; +$(MAKE) MODE=debug ## build without optimisation
asan:  ; +$(MAKE) MODE=asan ## build with AddressSanitizer and UBSan

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call run,CC,$(CC) $(CPPFLAGS) $(ROOM_CFLAGS) $(CFLAGS) -c $< -o $@)

# The build id is the first record on fd 3: only these two files hold it.
$(BUILD)/common/harness/build.o: CPPFLAGS += -DSPENDD_BUILD='"$(BUILD_ID)"' -DSPENDD_VERSION='"$(VERSION)"'
$(BUILD)/common/harness/build.o: $(BUILD)/build-id
$(BUILD)/build-id: FORCE
	@mkdir -p $(@D); echo '$(BUILD_ID)' | cmp -s - $@ || echo '$(BUILD_ID)' > $@
FORCE:

$(LIBSPENDD): $(COMMON_OBJ)
	@rm -f $@
	$(call run,AR,$(AR) rcs $@ $^)

$(SPENDD): $(SUPERVISOR_SRC:%.c=$(BUILD)/%.o) $(LIBSPENDD)
	@mkdir -p $(@D)
	$(call run,LD,$(CC) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs libconfig))

$(SPENDCTL): $(SPENDCTL_SRC:%.c=$(BUILD)/%.o) $(LIBSPENDD)
	@mkdir -p $(@D)
	$(call run,LD,$(CC) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs libzmq yajl))

# The gateway's page lies in its executable: each file of workers/gateway/page as one string.
PAGE := $(wildcard workers/gateway/page/page.*)
$(BUILD)/workers/gateway/page_files.c: $(PAGE)
	@mkdir -p $(@D)
	@echo '#include "workers/gateway/page_files.h"' > $@
	$(call run,GEN,for file in $^; do \
	    echo "const char page_$${file##*.}[] ="; \
	    sed -e 's/[\\"?]/\\&/g' -e 's/.*/"&\\n"/' $$file; echo ';'; done >> $@)
$(BUILD)/workers/gateway/page_files.o: $(BUILD)/workers/gateway/page_files.c
	$(call run,CC,$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@)
extra_gateway := $(BUILD)/workers/gateway/page_files.o

define worker_rule
$(BUILD)/libexec/spendd/$(1): $(patsubst %.c,$(BUILD)/%.o,$(wildcard workers/$(1)/*.c)) $(extra_$(1)) $(LIBSPENDD)
	@mkdir -p $$(@D)
	$$(call run,LD,$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(shell $$(PKG_CONFIG) --libs $(call row,$(1))) -lpthread)
endef
$(foreach w,$(WORKERS),$(eval $(call worker_rule,$(w))))

# --- packages, demo ---------------------------------------------------------------------------------
# Installs what is missing, and only then makes the rest: pkg-config may have come with it.
# SKIP_DEPS=1: everything is there, or comes from elsewhere.
DEPS    := $(if $(SKIP_DEPS),@true,packaging/install-deps.sh)
PYTHON  ?= /usr/bin/python3
# The demo's and the tests' libraries are the distribution's, so is the Python.  No plugin of somebody's
# home may change what a test means.
# The tests wait far more than they compute: several at once, each on servers of its own.
TEST_JOBS ?= 4
PYTEST  := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -p no:cacheprovider \
           -p xdist -n $(TEST_JOBS)

# Of the deaths, what runs under the sanitizers too: one of each kind.
ASAN_DEATHS := two_at_once or same_moment or torn_tail or short_writes or frozen or nonsense or bounded_queue

.PHONY: deps demo
deps: ## install the packages that building needs and that are missing
	$(DEPS) build
demo: ## packages, build, then a private Redis and PostgreSQL and a stream of events (TRACE=file.csv)
	$(DEPS) run
	+$(MAKE) --no-print-directory all
	$(PYTHON) tests/demo/demo.py

# --- tests -----------------------------------------------------------------------------------------
# tests/unit/test_NAME.c says on its lines "links: path.c ..." and "libs: pkg ..." what it is linked with.
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_EXE := $(UNIT_SRC:%.c=$(BUILD)/%)
# log.c and stats.c bring their parts along.
LOG_PARTS := common/base/log.c common/base/log_fields.c common/base/log_limit.c common/base/utf8.c common/base/clock.c
STATS_PARTS := common/stats/stats.c common/stats/tables.c
links = $(sort $(patsubst common/base/log.c,$(LOG_PARTS),$(patsubst common/stats/stats.c,$(STATS_PARTS),$(shell sed -n 's/^ \* links: *//p' tests/unit/$(1).c))))
define unit_rule
$(BUILD)/tests/unit/$(1): $(BUILD)/tests/unit/$(1).o $(patsubst %.c,$(BUILD)/%.o,$(call links,$(1)))
	$$(call run,LD,$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(shell $$(PKG_CONFIG) --libs cmocka $(shell sed -n 's/^ \* libs: *//p' tests/unit/$(1).c)) -lpthread)
endef
$(foreach t,$(notdir $(basename $(UNIT_SRC))),$(eval $(call unit_rule,$(t))))

.PHONY: unit
unit: $(UNIT_EXE) ## build and run the unit tests
	@for t in $(UNIT_EXE); do $$t || exit 1; done

.PHONY: test test-built test-interop check golden golden-update check-flow check-fault lint model model-deep
test: ## packages, build, every test (what CI runs)
	$(DEPS) test
	+$(MAKE) --no-print-directory test-built
test-built: all lint unit
	+$(MAKE) --no-print-directory MODE=asan all unit
	+$(MAKE) --no-print-directory MODE=asan FUZZ_SECONDS=3 fuzz-built
	tests/model/check.sh quick
	$(PYTEST) -q --durations=25 tests/golden tests/flow tests/fault
	SPENDD_MODE=asan $(PYTEST) -q --durations=10 tests/flow
	SPENDD_MODE=asan $(PYTEST) -q --durations=10 tests/fault -k "$(ASAN_DEATHS)"
	$(PYTHON) tests/mutants/mutants.py
	+$(MAKE) --no-print-directory test-interop
check: all unit golden lint ## the tests that take seconds: unit, golden, lint
golden: all ## configuration and command line against kept texts
	$(PYTEST) -q tests/golden
golden-update: all ## writes the kept texts anew: review the diff
	GOLDEN_UPDATE=1 $(PYTEST) -q tests/golden
check-flow: all ## the whole daemon on real servers
	$(PYTEST) -q tests/flow
check-fault: all ## the whole daemon, with everything dying around it
	$(PYTEST) -q tests/fault
test-interop: all ## beside LiteLLM itself, from PyPI (kept in build/interop); skips, and says so, where PyPI does not answer
	$(PYTEST) -n 2 -q -rs --durations=10 tests/interop
model: ## the model of the custody chain, the quick set (make test runs it too)
	tests/model/check.sh quick
model-deep: ## the model with more faults: a quarter of an hour
	tests/model/check.sh deep
lint: ## dependency rule, doors, sizes, names, paths in papers
	tests/lint/lint.sh

# --- fuzz ------------------------------------------------------------------------------------------
# tests/fuzz/fuzz_NAME.c: one driver each, sanitized; "links:" (beside all of common/) and "libs:" as in the unit tests.
FUZZ_SECONDS ?= 10
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ     := $(notdir $(basename $(FUZZ_SRC)))
FUZZ_EXE := $(FUZZ:%=$(BUILD)/tests/fuzz/%)
define fuzz_rule
$(BUILD)/tests/fuzz/$(1): $(BUILD)/tests/fuzz/$(1).o $(BUILD)/tests/fuzz/fuzz.o $(BUILD)/tests/fuzz/samples.o \
        $(patsubst %.c,$(BUILD)/%.o,$(shell sed -n 's/^ \* links: *//p' tests/fuzz/$(1).c)) $(LIBSPENDD)
	$$(call run,LD,$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(shell $$(PKG_CONFIG) --libs yajl libsodium $(shell sed -n 's/^ \* libs: *//p' tests/fuzz/$(1).c)) -lpthread)
endef
$(foreach f,$(FUZZ),$(eval $(call fuzz_rule,$(f))))

.PHONY: fuzz fuzz-built
fuzz: ## mutated input under ASan and UBSan: FUZZ_SECONDS=10 each, FUZZ="fuzz_event fuzz_msg"
	+$(MAKE) --no-print-directory MODE=asan fuzz-built
fuzz-built: $(FUZZ_EXE)
	@for f in $(FUZZ_EXE); do $$f $(FUZZ_SECONDS) || exit 1; done

# --- bench -----------------------------------------------------------------------------------------
GENERATOR := $(BUILD)/tests/bench/generator
$(GENERATOR): $(BUILD)/tests/bench/generator.o $(LIBSPENDD)
	$(call run,LD,$(CC) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs libzmq yajl libsodium) -lpthread -lm)

.PHONY: bench mutants
bench: all $(GENERATOR) ## every figure with its limit beside it; BENCH="ingest merge" for some of them
	$(PYTHON) tests/bench/bench.py $(BENCH)
mutants: all ## variants whose custody is broken on purpose: each must be caught, for the right reason
	$(PYTHON) tests/mutants/mutants.py $(MUTANTS)

# --- manual, completion -----------------------------------------------------------------------------
# spendctl.1 and the completions are commands.def in another form, spendd.conf.5 is settings.def.
COMMANDS_AWK := awk -f packaging/man/commands.awk
COMMANDS_DEF := workers/roster.def common/admin/commands.def
$(BUILD)/man/spendctl.1: packaging/man/spendctl.1.in packaging/man/commands.awk $(COMMANDS_DEF)
	@mkdir -p $(@D)
	$(COMMANDS_AWK) -v as=man $(COMMANDS_DEF) > $@.rows
	sed -e 's/@VERSION@/$(VERSION)/' -e '/@COMMANDS@/{' -e 'r $@.rows' -e 'd' -e '}' $< > $@
$(BUILD)/completion/spendctl.bash $(BUILD)/completion/spendctl.zsh: packaging/man/commands.awk $(COMMANDS_DEF)
	@mkdir -p $(@D)
	$(COMMANDS_AWK) -v as=$(subst .,,$(suffix $@)) $(COMMANDS_DEF) > $@

SETTINGS_AWK := awk -f packaging/man/settings.awk
$(BUILD)/man/spendd.conf.5: packaging/man/spendd.conf.5.in packaging/man/settings.awk \
                            common/config/settings.def common/config/models.def common/config/environment.def
	@mkdir -p $(@D)
	$(SETTINGS_AWK) common/config/settings.def > $@.settings
	$(SETTINGS_AWK) common/config/models.def > $@.models
	$(SETTINGS_AWK) common/config/environment.def > $@.environment
	sed -e 's/@VERSION@/$(VERSION)/' -e '/@SETTINGS@/{' -e 'r $@.settings' -e 'd' -e '}' -e '/@MODELS@/{' \
	    -e 'r $@.models' -e 'd' -e '}' -e '/@ENVIRONMENT@/{' -e 'r $@.environment' -e 'd' -e '}' $< > $@
$(BUILD)/man/spendd.8: packaging/man/spendd.8.in
	@mkdir -p $(@D)
	sed -e 's/@VERSION@/$(VERSION)/' $< > $@

MAN := spendctl.1 spendd.conf.5 spendd.8
.PHONY: man
man: $(MAN:%=$(BUILD)/man/%) $(BUILD)/completion/spendctl.bash $(BUILD)/completion/spendctl.zsh ## the manual pages, and completion for bash and zsh

# --- packages ---------------------------------------------------------------------------------------
.PHONY: package test-packages
package: ## .deb and .rpm of this tree into build/packages (whichever there are tools for)
	$(DEPS) package
	packaging/package.sh
test-packages: ## packages in clean roots of Debian 12 and 13, under a real systemd (root; SUITES=bookworm)
	$(DEPS) test-packages
	$(PYTHON) tests/packages/packages.py $(SUITES)

# --- install, format --------------------------------------------------------------------------------
# DESTDIR and PREFIX are all that is needed.  Units come along where PREFIX is; systemd reads those below
# /usr/local too.  UNITS= leaves them out (a container, another init).
bindir     := $(PREFIX)/bin
libexecdir := $(PREFIX)/libexec/spendd
mandir     := $(PREFIX)/share/man
docdir     ?= $(PREFIX)/share/doc/spendd
sysconfdir ?= /etc
UNITS      ?= yes
unitdir    ?= $(PREFIX)/lib/systemd/system
sysusersdir ?= $(PREFIX)/lib/sysusers.d
tmpfilesdir ?= $(PREFIX)/lib/tmpfiles.d
bashdir    := $(PREFIX)/share/bash-completion/completions
zshdir     ?= $(PREFIX)/share/zsh/site-functions
# Lines of the unit marked @N@ are for systemd N and later; an older one would complain of them.
SYSTEMD    ?= $(shell $(PKG_CONFIG) --modversion systemd 2>/dev/null || systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')

$(BUILD)/systemd/spendd.service: packaging/systemd/spendd.service.in packaging/systemd/unit.awk FORCE
	@mkdir -p $(@D)
	awk -v bindir='$(bindir)' -v sysconfdir='$(sysconfdir)' -v systemd='$(SYSTEMD)' \
	    -f packaging/systemd/unit.awk $< > $@

.PHONY: install install-units uninstall format
install: all man $(if $(UNITS),install-units) ## to $(DESTDIR)$(PREFIX); an existing configuration stays
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(libexecdir) $(DESTDIR)$(sysconfdir)/spendd $(DESTDIR)$(docdir)
	install -m 755 $(SPENDD) $(SPENDCTL) $(DESTDIR)$(bindir)
	install -m 755 $(WORKER_EXE) $(DESTDIR)$(libexecdir)
	for page in $(MAN); do \
	    install -D -m 644 $(BUILD)/man/$$page $(DESTDIR)$(mandir)/man$${page##*.}/$$page || exit 1; done
	install -D -m 644 $(BUILD)/completion/spendctl.bash $(DESTDIR)$(bashdir)/spendctl
	install -D -m 644 $(BUILD)/completion/spendctl.zsh $(DESTDIR)$(zshdir)/_spendctl
	install -m 644 README.md docs/*.md $(DESTDIR)$(docdir)
	test -e $(DESTDIR)$(sysconfdir)/spendd/spendd.conf || \
	    install -m 640 conf/spendd.conf $(DESTDIR)$(sysconfdir)/spendd/spendd.conf
install-units: $(BUILD)/systemd/spendd.service
	install -D -m 644 $(BUILD)/systemd/spendd.service $(DESTDIR)$(unitdir)/spendd.service
	install -D -m 644 packaging/systemd/spendd.socket $(DESTDIR)$(unitdir)/spendd.socket
	install -D -m 644 packaging/systemd/spendd.sysusers $(DESTDIR)$(sysusersdir)/spendd.conf
	install -D -m 644 packaging/systemd/spendd.tmpfiles $(DESTDIR)$(tmpfilesdir)/spendd.conf
uninstall: ## what install put there; configuration, user and spool stay
	rm -f $(DESTDIR)$(bindir)/spendd $(DESTDIR)$(bindir)/spendctl
	rm -rf $(DESTDIR)$(libexecdir) $(DESTDIR)$(docdir)
	for page in $(MAN); do rm -f $(DESTDIR)$(mandir)/man$${page##*.}/$$page; done
	rm -f $(DESTDIR)$(bashdir)/spendctl $(DESTDIR)$(zshdir)/_spendctl
	rm -f $(DESTDIR)$(unitdir)/spendd.service $(DESTDIR)$(unitdir)/spendd.socket
	rm -f $(DESTDIR)$(sysusersdir)/spendd.conf $(DESTDIR)$(tmpfilesdir)/spendd.conf
format: ## clang-format over every .c and .h
	$(if $(SKIP_DEPS),,packaging/install-deps.sh dev)
	git ls-files '*.c' '*.h' | xargs clang-format -i

.PHONY: clean help
clean: ## remove everything that was built
	rm -rf build
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | sort | awk -F'\t' '{ printf "  %-14s %s\n", $$1, $$2 }'

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
