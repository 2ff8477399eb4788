#!/usr/bin/env bash
# One entry to the study: makes the environment if need be, then runs a command. ./run_all.sh --help lists them.
# Written for Bash 3.2, which macOS has.
set -euo pipefail
# Paths on the command line are relative to where the user stands.
FORGET_FROM=$PWD
unset CDPATH # by which `cd` would go to another folder of the same name
script=$0
while [ -L "$script" ]; do
    target=$(readlink "$script")
    case "$target" in
        /*) script=$target ;;
        *) script=$(dirname -- "$script")/$target ;;
    esac
done
cd -- "$(dirname -- "$script")"

COMMANDS="smoke quick study paper new tune test lab demo forget purge submit verify data faults clean help"
PYTHON=""

usage() {
    cat <<'TEXT'
Usage: ./run_all.sh [COMMAND] [OPTIONS]

  quick            the study on embedded data: some minutes, no network (this is the default)
  smoke            a smaller study, about a minute: shows that everything works
  study [PART]     the study on whole data sets, overnight on a laptop; PART is a scenario of the config, such as mnist
  paper            the published set-ups, for GPUs or a cluster (--profile slurm)
  mine             your own study: workflow/config/mine.yaml; any other name in that folder is a command as well
  new KIND         write a commented file to start from: request (request.yaml, here) or config (mine.yaml, see above)
  tune CONFIG      choose settings of the methods of a config (mine, for example) for its data; the defaults of a method
                   stay where your own data do not show that others are better
  test             lint, format, types, notebooks without outputs, and all tests with a whole smoke study
  lab              JupyterLab on the notebooks
  demo             the demo notebook as a page
  forget REQUEST   answer a deletion request (a YAML file), with evidence; examples are in workflow/config/requests.
                   --until-pass: after a fail try the next method, and in the end train anew
  purge FOLDER     list what still holds the forgotten data of an answer; with --apply, remove it
  submit METHOD    rank a method (a name, or my_method.py) on the leaderboard's fixed problems
  verify [FILE]    check a deletion report (--data: measure it again), or repeat a part of a leaderboard record
  data NAME        fetch a data set (or all, or age-weights), and say where it came from
  faults [PART]    try the faults and attacks of tests/faults/README.md, and count how many were survived
  clean [PROFILE]  remove the results of one profile, or of all; the committed reference is kept, and so are answers to
                   deletion requests, which are evidence (to remove these too: clean forget)
  help             this text

Options of smoke, quick, study, paper and mine go to Snakemake, for example:
  -n               say what would be run, and run nothing
  --plan           hours, disk and longest chain at 1 to 256 workers, from a short calibration here; run nothing
  --runs 3         only the first 3 draws, seeds and people of each scenario; more can follow later
  --cores 4        at most four jobs at a time (default: one a core)
  --profile slurm  submit each notebook to a Slurm cluster
For every command:
  --trust-code     let your plugins and models run; they are code, and can do all that you can do

A second run does only what changed. A run that was stopped goes on where it was. The reports are in
results/PROFILE/index.html. The environment is made in .venv, unless an active one has all that is needed.
TEXT
}

say() { printf '%s\n' "$*"; }
fail() { printf 'run_all.sh: %s\n' "$*" >&2; exit 1; }

# --- environment ------------------------------------------------------------------------------------------------------

find_python() {
    local name
    for name in python3.11 python3.12 python3.13 python3 python; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    return 1
}

checksum() { cksum requirements*.txt requirements*.lock | cksum | cut -d ' ' -f 1; }

# Nothing is fetched but what the lock names, and nothing kept whose hash is another. The lock is complete, so nothing
# is resolved; setuptools goes first, for it builds the packages that come as source.
# What pip is told for the user's account (pip.conf: user = true) would put them elsewhere.
install_into_venv() { # requirements file
    local part packages=.venv/forget-packages.txt
    for part in setuptools ""; do
        .venv/bin/python workflow/environment.py --locked "${1%.txt}.lock" $part > "$packages" || return
        if command -v uv >/dev/null 2>&1; then
            uv pip install --quiet --python .venv/bin/python --require-hashes --no-deps --no-build-isolation -r "$packages" || return
        else
            .venv/bin/python -m pip install --quiet --disable-pip-version-check \
                --no-user --target "" --prefix "$PWD/.venv" --require-hashes --no-deps --no-build-isolation -r "$packages" || return
        fi
    done
}

make_venv() {
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --clear --python '>=3.11,<3.14' .venv || fail "uv found no Python 3.11 to 3.13 and could not fetch one."
        return
    fi
    local python
    python=$(find_python) || fail "No Python 3.11, 3.12 or 3.13 found. Install one, or uv, or use conda: conda env create -n forget -f environment.yml"
    "$python" -m venv --clear .venv || fail "Could not make .venv with $python. On Debian or Ubuntu: install python3-venv."
}

# Sets PYTHON to one that has the packages of the given requirements file.
use_environment() { # requirements file
    local stamp missing
    if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && command -v python >/dev/null 2>&1; then
        if missing=$(python workflow/environment.py "$1" 2>/dev/null); then
            PYTHON=$(command -v python)
        elif [ "${VIRTUAL_ENV:-}" != "$PWD/.venv" ]; then
            say "The active environment is left alone (${missing:-it cannot be read}); .venv is used."
        fi
    fi
    if [ -z "$PYTHON" ]; then
        stamp=".venv/.forget-$(basename "$1" .txt)-$(checksum)"
        if [ ! -e "$stamp" ]; then
            enough_space . 8000000 "the environment"
            say "Making the environment in .venv; the first time takes some minutes ..."
            # A venv of an older lock is brought up to date in place; one whose Python is gone is made anew.
            .venv/bin/python -c '' >/dev/null 2>&1 || make_venv
            install_into_venv "$1" || fail "The packages could not be installed; the reason stands above. Run the same command again."
            .venv/bin/python workflow/environment.py "$1" || fail "The environment in .venv is not complete. Remove .venv and run again."
            : > "$stamp"
        fi
        PYTHON="$PWD/.venv/bin/python"
    fi
    PATH="$(dirname "$PYTHON"):$PATH"
    PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
    export PATH PYTHONPATH
}

# --- checks before a run ----------------------------------------------------------------------------------------------

enough_space() { # folder, kilobytes, what for
    local free
    free=$(df -Pk "$1" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$2" ] || fail "Only $((free / 1000)) MB are free, $3 needs about $(($2 / 1000)) MB. Free some space."
}

check_results() { # profile
    local probe="results/$1/.writable"
    { mkdir -p "results/$1" && : > "$probe"; } 2>/dev/null ||
        fail "Cannot write to results/$1. Mend the rights of that folder (chmod u+w), or free some space."
    rm -f "$probe"
    case "$1" in
        smoke | quick) enough_space "results/$1" 500000 "profile $1" ;;
        *) enough_space "results/$1" 5000000 "profile $1" ;;
    esac
}

# Two runs in one folder would write the same files; a killed one leaves locks that nobody holds any more.
take_turn() { # profile
    mkdir -p .snakemake
    exec 9<> .snakemake/forget.lock
    "$PYTHON" workflow/turn.py $$ || exit 1
    if [ -n "$(ls .snakemake/locks 2>/dev/null)" ]; then
        say "The last run was stopped; going on where it was."
        "$PYTHON" -m snakemake --unlock --configfile "workflow/config/$1.yaml" >/dev/null 2>&1 || true
    fi
}

# Kernels are forks of one process that has imported the libraries, which is most of what a page takes beside its work. It
# ends with this script; where it cannot be, kernels start as always. See workflow/pages/warm.py. The path of its socket
# must be shorter than a TMPDIR may be.
warm_kernels() {
    local folder
    if [ "$(uname -s)" = Linux ] && folder=$(mktemp -d /tmp/forget-XXXXXXXX 2>/dev/null || mktemp -d); then
        export FORGET_WARM="$folder/kernels"
        mkdir -p .snakemake
        "$PYTHON" -m workflow.pages warm "$FORGET_WARM" $$ >.snakemake/warm.log 2>&1 9<&- &
    fi
}

# --- commands ---------------------------------------------------------------------------------------------------------

run_profile() { # profile, options for Snakemake
    local profile=$1 status=0 config="workflow/config/$1.yaml"
    shift
    [ -f "$config" ] || fail "There is no $config."
    local plan_only="" estimate_only=""
    local -a options targets
    options=(--configfile "$config")
    targets=()
    local -a parts runs
    parts=()
    runs=()
    # Words before the first option are parts of the study; from there on all is Snakemake's.
    while [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; do
        parts+=("$1")
        targets+=("part_$1")
        shift
    done
    while [ $# -gt 0 ]; do
        case "$1" in
            --profile)
                [ $# -gt 1 ] || fail "--profile needs a name, for example: --profile slurm"
                options+=(--workflow-profile "workflow/profiles/$2")
                shift
                ;;
            --runs)
                [ $# -gt 1 ] || fail "--runs needs a number, for example: --runs 3"
                runs=(--runs "$2")
                options+=(--config "runs=$2")
                shift
                ;;
            -n | --dry-run) plan_only=yes; options+=("$1") ;;
            --plan) estimate_only=yes ;;
            *) options+=("$1") ;;
        esac
        shift
    done
    use_environment requirements.txt
    check_results "$profile"
    # ${name[@]+...}: an empty array is an unset variable to Bash 3.2.
    "$PYTHON" -m workflow.plan "$config" ${parts[@]+"${parts[@]}"} ${runs[@]+"${runs[@]}"} || exit 1
    if [ -n "$estimate_only" ]; then
        exec "$PYTHON" -m workflow.estimate "$config" ${parts[@]+--parts "${parts[@]}"} ${runs[@]+"${runs[@]}"}
    fi
    take_turn "$profile"
    if [ -n "$plan_only" ]; then
        "$PYTHON" -m snakemake ${targets[@]+"${targets[@]}"} "${options[@]}"
        return
    fi
    # A cluster starts and counts each job by itself.
    case " ${options[*]} " in
        *" --executor local "* | *" --executor=local "* | *" -e local "*) warm_kernels ;;
        *" --executor"[\ =]* | *" -e "* | *" --workflow-profile"[\ =]*) ;;
        *) warm_kernels ;;
    esac
    case "$profile" in study | paper) "$PYTHON" -m workflow.estimate "$config" ${parts[@]+--parts "${parts[@]}"} ${runs[@]+"${runs[@]}"} ;; esac
    local stopped=""
    trap 'stopped=yes' INT
    "$PYTHON" -m snakemake ${targets[@]+"${targets[@]}"} "${options[@]}" 2>&1 | "$PYTHON" workflow/progress.py || status=$?
    if [ -n "$stopped" ]; then
        say "Stopped. What was computed is kept: the same command goes on from here."
        exit 130
    fi
    if [ "$status" -ne 0 ]; then
        if [ -f "results/$profile/index.html" ]; then
            say "What there is so far: results/$profile/index.html"
        fi
        fail "Profile $profile did not end well (status $status); the reason stands above. What was computed is kept: mend it and run the same command again."
    fi
    if [ ${#targets[@]} -gt 0 ]; then
        "$PYTHON" -m workflow.pages index "results/$profile" >/dev/null
    fi
    if [ -d "results/reference/$profile" ]; then # what it says is no reason to fail
        "$PYTHON" -m workflow.pages compare "results/$profile" || true
    fi
    say "Done. Open the reports in a browser: $PWD/results/$profile/index.html"
}

run_tests() { # options for pytest
    use_environment requirements-test.txt
    say "ruff: lint and format of code and notebooks"
    "$PYTHON" -m ruff check .
    "$PYTHON" -m ruff format --check .
    say "mypy: types of forget_lib and workflow"
    "$PYTHON" -m mypy
    say "nbstripout: notebooks hold no outputs"
    "$PYTHON" -m nbstripout --verify --keep-id --extra-keys "metadata.papermill metadata.widgets cell.metadata.papermill cell.metadata.execution" \
        notebooks/*.ipynb
    say "pytest: everything else, with a whole smoke study"
    # One thread a process: with more, numerical libraries on few cores wait for each other most of the time.
    OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}" \
        "$PYTHON" -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder "$@"
}

need_notebook() { # name, command
    [ -f "notebooks/$1.ipynb" ] || fail "$2 is not part of this version: there is no notebooks/$1.ipynb."
}

# Runs a module in the folder where the user stands, to which paths on the command line are relative. -P: what lies there
# is not taken for a module.
as_user() { # module, arguments
    cd "$FORGET_FROM" && exec "$PYTHON" -P -m "$@"
}

is_answer() { # file or folder: is it the report of a deletion request, or holds it one?
    (cd "$FORGET_FROM" && grep -qs -e '"kind": *"forget deletion report"' -- "$1" "$1/report.json")
}

as_root() { if [ "$(id -u)" -eq 0 ]; then say --allow-root; fi; }

fetch_data() { # name
    use_environment requirements.txt
    cd "$FORGET_FROM"
    "$PYTHON" -P - "$1" <<'PY'
import sys

from forget_lib.core.errors import ForgetError
from forget_lib.datasets import list_datasets, load
from forget_lib.datasets.age_weights import fetch_age_weights

names = list_datasets() if sys.argv[1] == "all" else [sys.argv[1]]
failed = False
for name in names:
    try:
        if name == "age-weights":
            fetch_age_weights()
            continue
        data = load(name)
        print(f"{name}: {len(data.labels)} + {len(data.test_labels)} images from {data.source}")
    except ForgetError as error:
        failed = True
        print(f"{name}: {error}", file=sys.stderr)
sys.exit(failed)
PY
}

# A commented file to start from: a request where the user stands, a config where configs are run from.
new_file() { # request or config
    local template file schema
    case "${1:-}" in
        request) template=request file=$FORGET_FROM/request.yaml schema=$PWD/workflow/config/schemas/request.json ;;
        config) template=mine file=$PWD/workflow/config/mine.yaml schema=schemas/config.json ;;
        *) fail "new needs what to write: request or config, for example: ./run_all.sh new request" ;;
    esac
    [ ! -e "$file" ] || fail "$file is already there, and nothing was written. Rename or move it first."
    ( # noclobber: a file that appears meanwhile is kept as well
        set -o noclobber
        { printf '# yaml-language-server: $schema=%s\n' "$schema" && tail -n +2 "workflow/templates/$template.yaml"; } > "$file"
    ) || fail "Cannot write $file; the reason stands above."
    say "Wrote $file. Change what you need, then run it:"
    case "$1" in
        request) say "  ./run_all.sh forget request.yaml" ;;
        config) say "  ./run_all.sh mine" ;;
    esac
}

clean() { # profile or nothing
    local folder
    if [ $# -gt 0 ]; then
        [ "$1" = forget ] || [ -f "workflow/config/$1.yaml" ] || fail "Unknown profile '$1'. Known: smoke quick study paper, and forget."
        rm -rf "results/$1"
        say "Removed results/$1"
        return
    fi
    for folder in results/*/; do
        [ -d "$folder" ] || continue
        case "$folder" in
            results/reference/) ;;
            results/forget/) say "Kept results/forget: answers to deletion requests are evidence. To remove them: ./run_all.sh clean forget" ;;
            *)
                rm -rf "${folder%/}" # of a link, the link; with the slash, what it leads to
                say "Removed ${folder%/}"
                ;;
        esac
    done
    rm -rf .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis
}

# The known word with the most letters in common at the same places, or at the end.
nearest() { # word
    local word best="" most=0 common i
    for word in $COMMANDS; do
        common=0
        i=0
        while [ "$i" -lt "${#word}" ] && [ "$i" -lt "${#1}" ]; do
            if [ "${word:$i:1}" = "${1:$i:1}" ]; then common=$((common + 1)); fi
            if [ "${word: -1-$i:1}" = "${1: -1-$i:1}" ]; then common=$((common + 1)); fi
            i=$((i + 1))
        done
        if [ "$common" -gt "$most" ]; then most=$common; best=$word; fi
    done
    say "$best"
}

main() {
    local command=${1:-quick} guess
    if [ $# -gt 0 ]; then shift; fi
    case "$command" in
        smoke | quick | study | paper) run_profile "$command" "$@" ;;
        tune)
            [ $# -gt 0 ] || fail "tune needs the name of a config, for example: ./run_all.sh tune mine"
            use_environment requirements.txt
            local config=$1
            shift
            exec "$PYTHON" -m workflow.tuning --config "workflow/config/$config.yaml" "$@"
            ;;
        test) run_tests "$@" ;;
        lab)
            use_environment requirements.txt
            # There are the settings: the first page, no question about news, and pictures of over 10 MB for the demo.
            export JUPYTER_CONFIG_PATH="$PWD/workflow/page${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}"
            exec "$PYTHON" -m jupyter lab $(as_root) --ServerApp.root_dir="$PWD" "$@"
            ;;
        demo)
            need_notebook 09_face_demo "The demo"
            use_environment requirements.txt
            # There are the page's settings: this machine only, a token, no files served, nothing fetched from elsewhere.
            export JUPYTER_CONFIG_PATH="$PWD/workflow/page" JUPYTER_PATH="$PWD/workflow/page:$PWD/workflow/pages"
            warm_kernels
            exec "$PYTHON" -m voila notebooks/09_face_demo.ipynb "$@"
            ;;
        forget)
            need_notebook 10_deletion_request "Answering a deletion request"
            [ $# -gt 0 ] || fail "forget needs a request, for example: ./run_all.sh forget workflow/config/requests/digit.yaml"
            use_environment requirements.txt
            as_user workflow.deletion run "$@"
            ;;
        purge)
            [ $# -gt 0 ] || fail "purge needs the folder of an answer, for example: ./run_all.sh purge results/forget/digit"
            use_environment requirements.txt
            as_user workflow.deletion purge "$@"
            ;;
        submit | verify)
            use_environment requirements.txt
            # The file tells what it is: the report of a deletion request, or a record of the leaderboard.
            if [ "$command" = verify ] && [ $# -gt 0 ] && is_answer "$1"; then
                as_user workflow.deletion verify "$@"
            fi
            as_user workflow.leaderboard "$command" "$@"
            ;;
        data)
            [ $# -eq 1 ] || fail "data needs the name of one data set, or all, for example: ./run_all.sh data mnist"
            fetch_data "$1"
            ;;
        new) new_file "$@" ;;
        faults)
            use_environment requirements-test.txt
            exec "$PYTHON" -m tests.faults "$@"
            ;;
        clean) clean "$@" ;;
        help | -h | --help) usage ;;
        */* | .*) fail "Unknown command '$command'. A config of your own lies in workflow/config and is named without folder and .yaml." ;;
        *)
            # A config of the user's own is a profile like the others.
            if [ -f "workflow/config/$command.yaml" ]; then
                run_profile "$command" "$@"
                return
            fi
            guess=$(nearest "$command")
            fail "Unknown command '$command'. Did you mean '$guess'? Known: $COMMANDS. ./run_all.sh --help says more."
            ;;
    esac
}

# --trust-code may stand anywhere; the library asks for it by this variable.
arguments=()
for argument in "$@"; do
    if [ "$argument" = --trust-code ]; then export FORGET_TRUST_CODE=1; else arguments+=("$argument"); fi
done
main ${arguments[@]+"${arguments[@]}"}
