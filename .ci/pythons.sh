# Finding Pythons that run, and making environments with them. Sourced by .ci/run and .ci/release.

# Whether $1 is Python $2, starts, and can make an environment that has pip. A shim on the PATH may do none of this.
runs() {
  "$1" - "$2" >/dev/null 2>&1 <<'PYTHON'
import importlib.util, sys, venv
has_pip = any(importlib.util.find_spec(name) for name in ("ensurepip", "pip"))
sys.exit(not (has_pip and sys.version_info[:2] == tuple(map(int, sys.argv[1].split(".")))))
PYTHON
}

# Print the first Python $1 (as 3.13) that runs: on the PATH, else where version managers and distributions put them.
find_python() {
  local candidate root
  root=$(pyenv root 2>/dev/null) || root=$HOME/.pyenv
  for candidate in $(type -ap "python$1" python3 python) "$root/versions/$1".*/bin/python \
    {/usr/local,/usr}/bin/python"$1" /opt/python*/bin/python"$1" /opt/homebrew/bin/python"$1" \
    "$HOME"/.local/bin/python"$1" "$HOME"/.local/share/uv/python/*/bin/python"$1" \
    {"$HOME",/opt}/*conda*/bin/python3; do
    if runs "$candidate" "$1"; then
      "$candidate" -c 'import sys; print(sys.executable)' # what a shim stands for
      return 0
    fi
  done
  return 1
}

# Print the first of the given versions that is found.
first_python() {
  local version
  for version in "$@"; do find_python "$version" && return 0; done
  return 1
}

# Make an environment with Python $1 in folder $2. Some distributions leave out ensurepip, but have pip.
make_env() {
  "$1" -m venv "$2" >/dev/null 2>&1 && return 0
  rm -rf "$2"
  "$1" -m venv --without-pip "$2" && "$1" -m pip --python "$2/bin/python" install -q pip
}

# Say what follows, and run it with its duration.
timed() {
  local begin=$SECONDS
  echo "== $1"
  "${@:2}"
  echo "   $((SECONDS - begin)) s"
}
