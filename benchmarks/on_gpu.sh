#!/usr/bin/env bash
# One visit to a machine with a GPU: what it says, what envcheck says of it, and the figures. Changes nothing on it.
#
#   bash benchmarks/on_gpu.sh OUT_FOLDER PYTHON_WITH_TORCH_AND_ENVCHECK PART...
#
# Parts: facts (the machine in its own words), doctor, verify, gate, speed, tests (pytest -m gpu), memory (needs
# transformers, peft, torchvision). Each ends with its exit code and seconds in OUT_FOLDER/times.txt; none stops the rest.
set -u
out=$1 python=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$out"
export PYTHONUNBUFFERED=1 NO_COLOR=1

# run NAME SECONDS COMMAND...: stdout to OUT/NAME, stderr to OUT/NAME.err
run() {
  local name=$1 limit=$2 began code
  shift 2
  began=$(date +%s.%N)
  timeout --kill-after=5 "$limit" "$@" >"$out/$name" 2>"$out/$name.err" </dev/null
  code=$?
  [ -s "$out/$name.err" ] || rm -f "$out/$name.err"
  printf '%-28s exit %3s %8.2f s\n' "$name" "$code" "$(awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN {print b - a}')" | tee -a "$out/times.txt"
}

ec() { # NAME SECONDS ARGUMENTS...
  local name=$1 limit=$2
  shift 2
  run "$name" "$limit" "$python" -m envcheck "$@"
}

part_facts() {
  run smi.txt 20 nvidia-smi
  run smi-L.txt 20 nvidia-smi -L
  run smi-q.txt 20 nvidia-smi -q
  run smi-q.xml 20 nvidia-smi -q -x
  run smi-topo.txt 20 nvidia-smi topo -m
  run smi-csv.txt 20 nvidia-smi --format=csv --query-gpu=index,name,driver_version,memory.total,memory.used,compute_cap,pcie.link.gen.current,pcie.link.width.current,ecc.mode.current,mig.mode.current,persistence_mode,clocks.sm,clocks.max.sm,power.limit,temperature.gpu
  # shellcheck disable=SC2016
  run system.txt 20 bash -c 'for f in /etc/os-release /proc/version /proc/driver/nvidia/version /proc/driver/nvidia/params; do echo "== $f"; cat "$f"; done; echo "== /dev"; ls -l /dev/nvidia* /dev/dri; echo "== lspci"; lspci -nnk | grep -iA3 nvidia; echo "== modules"; grep -i nvidia /proc/modules; echo "== ldconfig"; ldconfig -p | grep -iE "libcuda|libnvidia|cudnn|cublas|nccl"; echo "== dmesg"; dmesg | grep -iE "nvrm|xid" | tail -20; env | grep -iE "cuda|nvidia|LD_LIBRARY|torch" ; true'
  run collect_env.txt 60 "$python" -m torch.utils.collect_env
  run pip.txt 30 "$python" -m pip list --disable-pip-version-check
}

part_doctor() {
  ec doctor.txt 30 doctor -v
  ec doctor.json 30 doctor --format json
  ec doctor-deep.json 90 doctor --deep --format json
  ec snapshot.json 60 snapshot
  ec gpus.txt 30 advise --here --model bert-base --method full
  ec plan.txt 30 plan --format text
}

part_verify() {
  ec verify-quick.json 120 verify --quick --format json
  ec verify.json 300 verify -v --format json
}

part_gate() { ec gate.json 120 gate --report "json=$out/gate-report.json" --report "prometheus=$out/gate.prom"; }
# The install script on a machine that has all that it asks for: nothing to do, then the proof. And torchrun's own.
part_script() {
  ec install.sh 30 plan --torch "$("$python" -c 'import torch; print(torch.__version__.split("+")[0])')" --venv none
  run script.txt 120 bash "$out/install.sh" --yes
  run script-again.txt 120 bash "$out/install.sh" --yes
  run torchrun.txt 120 "$python" -m torch.distributed.run --nproc-per-node gpu "$("$python" -m envcheck verify --where-distributed)"
}

# What is wrong on purpose, in the environment of one command.
part_faults() {
  CUDA_VISIBLE_DEVICES=7 ec fault-hidden-doctor.txt 60 doctor
  CUDA_VISIBLE_DEVICES=7 ec fault-hidden-verify.txt 60 verify --quick
  ec fault-no-time.txt 60 verify --quick --timeout 1
}

part_speed() { run speed.txt 120 "$python" "$here/benchmarks/doctor_speed.py" "$python"; }
part_tests() { ENVCHECK_EVIDENCE=$out run tests.txt 400 "$python" -m pytest -o addopts= -p no:cacheprovider -m gpu -v -rA "$here/tests/test_verify_gpu.py"; }
part_memory() { run memory.jsonl 240 "$python" "$here/benchmarks/memory_gpu.py" second; }

for part in "$@"; do "part_$part"; done
tail -n 40 "$out"/doctor.txt 2>/dev/null
cat "$out/times.txt"
