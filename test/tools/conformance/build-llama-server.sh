#!/bin/sh
# Builds llama-server from the source in node-llama-cpp, against its prebuilt libraries. Takes a few minutes of one core
# and downloads nothing. Needs g++ and git.
#
#   sh test/tools/conformance/build-llama-server.sh OUT [SYSTEM]     # SYSTEM: linux-x64
#   OUT/llama-server -m gpu-worker/model/tiny.gguf --jinja --metrics -c 16384 -np 4 --no-kv-unified --port 8080
#   npm run conformance -- --live http://127.0.0.1:8080
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
out=$1
system=${2:-linux-x64}
lib=$root/node_modules/@node-llama-cpp/$system/bins/$system
src=$out/source
mkdir -p "$out/ui" "$out/objects"
[ -d "$src" ] || git clone -q "$root/node_modules/node-llama-cpp/llama/gitRelease.bundle" "$src"

g++ -O1 -std=c++17 "$src/tools/ui/embed.cpp" -o "$out/embed"
"$out/embed" "$out/ui/ui.cpp" "$out/ui/ui.h"
include="-I$src/include -I$src/ggml/include -I$src/common -I$src/vendor -I$src/tools/server -I$src/tools/mtmd -I$src -I$out/ui"
define="-DGGML_BACKEND_SHARED -DGGML_SHARED -DLLAMA_SHARED -DMTMD_VIDEO -DLLAMA_SUBPROCESS"
objects=""
for file in "$src"/tools/server/*.cpp "$src"/tools/mtmd/mtmd*.cpp "$src"/tools/mtmd/clip.cpp \
  "$src"/tools/mtmd/models/*.cpp "$src"/vendor/hash/hash.cpp "$out/ui/ui.cpp"; do
  case $file in */mtmd-cli.cpp) continue ;; esac
  object="$out/objects/$(basename "$(dirname "$file")")-$(basename "$file" .cpp).o"
  objects="$objects $object"
  # shellcheck disable=SC2086
  [ -f "$object" ] || g++ -c -O1 -std=c++17 -w $define $include "$file" -o "$object"
done
for file in xxhash/xxhash.c sha256/sha256.c sha1/sha1.c; do
  object="$out/objects/$(basename "$file" .c).o"
  objects="$objects $object"
  case $file in sha1/*) compile="g++ -x c++" ;; *) compile=gcc ;; esac
  [ -f "$object" ] || $compile -c -O1 -w -I"$src/vendor/hash" -I"$src/vendor" "$src/vendor/hash/$file" -o "$object"
done
# shellcheck disable=SC2086
g++ $objects -o "$out/llama-server" -L"$lib" -l:libllama-common.so "$(ls "$lib"/libllama.v*.so)" \
  "$(ls "$lib"/libggml.v*.so)" -l:libggml-base.so -lpthread -Wl,-rpath,"$lib"
# llama-server searches its own folder for the CPU variants.
ln -sf "$lib"/libggml-cpu-*.so "$out/"
echo "$out/llama-server"
