# shellcheck shell=bash
# Sourced by ./quickstart, ./test and .ci/run: brings a bare machine to a built checkout.
#   set_up           system packages, Python environment in .venv, CMake preset chosen (PRESET)
#   build [TARGET]   configures and compiles build/$PRESET: all of it, or the target ("programs")
# Both do nothing, quickly, when there is nothing to do, and go on after an interruption.
# WF_PRESET=cpu|cuda|debug|asan overrides the choice: cuda where nvcc can be had, which needs no GPU.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

say() { printf '== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

set_up() {
  trap 'exit 130' INT
  system_packages
  find_nvcc
  python_environment
  [[ $NEEDS_PYPI_NVCC == no ]] || use_pypi_nvcc
  PRESET=${WF_PRESET:-$([[ -n $NVCC ]] && echo cuda || echo cpu)}
  export PATH="$ROOT/.venv/bin:$PATH"
}

# --- system packages ---------------------------------------------------------------------------

has_program() { command -v "$1" >/dev/null; }
has_header() {
  g++ -x c++ -fsyntax-only - 2>/dev/null <<<$'#if !__has_include(<'"$1"$'>)\n#error\n#endif'
}
has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# Debian's package name, and how to see that what it brings is there, wherever it came from.
PACKAGES="
ca-certificates       test -e /etc/ssl/certs/ca-certificates.crt
g++                   has_program g++
git                   has_program git
ccache                has_program ccache
lld                   has_program ld.lld
python3               has_program python3
python3-venv          has_venv
libyaml-cpp-dev       has_header yaml-cpp/yaml.h
libgtest-dev          has_header gtest/gtest.h
libgmock-dev          has_header gmock/gmock.h
nlohmann-json3-dev    has_header nlohmann/json.hpp
libcli11-dev          has_header CLI/CLI.hpp
libssl-dev            has_header openssl/evp.h
libjemalloc-dev       has_header jemalloc/jemalloc.h
"

missing_packages() {
  local package check
  while read -r package check; do
    [[ -z $package ]] || $check || echo "$package"
  done <<<"$PACKAGES"
}

system_packages() {
  local missing
  missing=$(missing_packages | xargs)
  if [[ -n $missing ]]; then
    install_packages $missing
    missing=$(missing_packages | xargs)
    [[ -z $missing ]] || fail "still missing after installing them: $missing"
  fi
  local gcc
  gcc=$(g++ -dumpversion)
  ((${gcc%%.*} >= 12)) || fail "g++ is version $gcc; C++20 needs 12 or newer (Debian 12, Ubuntu 24.04)"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$(python3 --version) is too old; Python 3.11 or newer is needed (Debian 12, Ubuntu 24.04)"
}

install_packages() {
  has_program apt-get ||
    fail "this system has no apt; install what Debian calls: $* (C++ compiler: g++ 12 or newer)"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q)
  if ((EUID != 0)); then
    has_program sudo || fail "missing: $*; as root, run: apt-get install $*"
    apt=(sudo "${apt[@]}")
  fi
  say "installing system packages: $*"
  "${apt[@]}" update || fail "apt-get update failed; see its message above"
  "${apt[@]}" install -y --no-install-recommends "$@" ||
    fail "apt-get could not install: $*"
}

# --- Python environment ------------------------------------------------------------------------

# An nvcc of LibTorch's own CUDA version, else PyPI's.
find_nvcc() {
  NVCC='' NEEDS_PYPI_NVCC=no
  [[ ${WF_PRESET:-cuda} == cuda ]] || return 0
  local nvcc
  for nvcc in "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    if [[ -x $nvcc ]] && "$nvcc" --version | grep -q 'release 13\.'; then
      NVCC=$nvcc
      return 0
    fi
  done
  NEEDS_PYPI_NVCC=yes
}

use_pypi_nvcc() {
  local toolkit
  toolkit=$(echo "$ROOT"/.venv/lib/python3.*/site-packages/nvidia/cu13)
  # Names of a toolkit that the packages lack: where nvcc links from, what CMake looks for.
  ln -sfn lib "$toolkit/lib64"
  ln -sfn libcudart.so.13 "$toolkit/lib/libcudart.so"
  NVCC=$toolkit/bin/nvcc
}

python_environment() {
  local files=(launch/requirements.txt launch/requirements-test.txt)
  [[ $NEEDS_PYPI_NVCC == no ]] || files+=(launch/requirements-nvcc.txt)
  local stamp
  stamp=$(cat "${files[@]}" pyproject.toml <(echo "$ROOT") <(python3 --version) | sha256sum)
  [[ $(cat .venv/stamp 2>/dev/null) != "$stamp" ]] || return 0
  (
    flock 9 # a second ./test waits here and then finds the work done
    [[ $(cat .venv/stamp 2>/dev/null) != "$stamp" ]] || exit 0
    rm -f .venv/stamp
    # Scripts in .venv name their Python by its full path: a moved checkout needs a new one.
    if [[ $(head -1 .venv/bin/pip 2>/dev/null) != "#!$ROOT/.venv/bin/python"* ]] ||
      ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
      say "creating the Python environment .venv"
      python3 -m venv --clear .venv
    fi
    say "installing Python packages into .venv (torch and its CUDA libraries: several GB)"
    pip_install "${files[@]/#/--requirement=}"
    pip_install --no-deps --no-build-isolation --editable .
    echo "$stamp" >.venv/stamp
  ) 9<launch/setup.sh
}

pip_install() {
  .venv/bin/python -m pip --disable-pip-version-check install "$@" |
    grep --line-buffered -v 'already satisfied' || ((PIPESTATUS[0] == 0)) ||
    fail "pip could not install $*; see its message above"
}

# --- build -------------------------------------------------------------------------------------

build() {
  local folder=build/$PRESET options=()
  if [[ -n $NVCC && $PRESET == cuda ]]; then
    local toolkit=${NVCC%/bin/nvcc}
    options=("-DCMAKE_CUDA_COMPILER=$NVCC" "-DCUDAToolkit_ROOT=$toolkit"
      "-DCUDA_TOOLKIT_ROOT_DIR=$toolkit")
  fi
  local stamp="$ROOT ${options[*]} $(cat .venv/stamp)"
  if [[ $(cat "$folder/stamp" 2>/dev/null) != "$stamp" ]]; then
    say "configuring $folder"
    mkdir -p build
    cmake --fresh --preset "$PRESET" "${options[@]}" >"build/configure.$PRESET.log" 2>&1 ||
      { cat "build/configure.$PRESET.log" >&2; fail "cmake could not configure $folder"; }
    echo "$stamp" >"$folder/stamp"
  fi
  say "building $folder"
  cmake --build "$folder" --parallel "$(jobs_that_fit)" ${1:+--target "$1"} ||
    fail "the build of $folder failed"
}

# A file that includes Torch takes up to 3 GB to compile.
jobs_that_fit() {
  local memory_gb
  memory_gb=$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
  local jobs=$((memory_gb / 3 < $(nproc) ? memory_gb / 3 : $(nproc)))
  echo $((jobs > 1 ? jobs : 1))
}
