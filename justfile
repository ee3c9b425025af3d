# What is no command of cargo: `cargo firstpass --help` lists the rest.

# List the recipes
default:
    @just --list

# What continuous integration checks
check:
    .ci/run

# Fuzz what reads others' files: every target, or those named, so many seconds each (cargo-fuzz, nightly)
fuzz seconds *targets:
    suite/fuzz/run {{seconds}} {{targets}}

# Make models, images and golden outputs again (Python: see fixtures/generate/README.md)
fixtures python torch18_python:
    cd fixtures && {{python}} -m generate --torch18-python {{torch18_python}}
