# List the recipes
default:
    @just --list

# Fetch the native libraries that are not there yet
setup:
    cargo firstpass setup

# Measure every engine on every model and write reports/README.md (about 10 minutes)
report *arguments:
    cargo firstpass report {{arguments}}

# Measure every engine against itself: the noise floor of this machine (about 5 minutes)
aa *arguments:
    cargo firstpass aa {{arguments}}

# Measure what measuring costs: through the trait against the engine called directly
overhead *arguments:
    cargo firstpass overhead {{arguments}}

# Say where the first passes spend their time, from the engines' own hooks
explain *arguments:
    cargo firstpass explain {{arguments}}

# Say whose arithmetic an engine's is, and in which layer it begins to differ
referee *arguments:
    cargo firstpass referee {{arguments}}
    cargo firstpass diverge {{arguments}}

# Measure other models as well: torchvision's quantized ones and another detector
zoo *arguments:
    cargo firstpass zoo {{arguments}}

# Say what changed between two records beyond noise
compare before after *arguments:
    cargo firstpass compare {{before}} {{after}} {{arguments}}

# Judge limits on first passes and steady times, for continuous integration
gate *arguments:
    cargo firstpass gate {{arguments}}

# Run every test on every engine, none skipped
test *arguments:
    cargo firstpass test {{arguments}}

# Run the criterion benchmarks cold/<model> and steady/<model> of every engine
bench *arguments:
    cargo firstpass bench {{arguments}}

# Make models, images and golden outputs again (Python: see fixtures/generate/README.md)
fixtures python torch18_python:
    cd fixtures && {{python}} -m generate --torch18-python {{torch18_python}}

# Fuzz what reads others' files: every target, or those named, so many seconds each (cargo-fuzz, nightly)
fuzz seconds *targets:
    suite/fuzz/run {{seconds}} {{targets}}

# What continuous integration checks
check:
    .ci/run
