# What each suite took, from nextest's report. Suites run side by side: the sum is more than the time that passed.
# awk -f tests/seconds.awk target/nextest/default/junit.xml
BEGIN { FS = "\"" }
/<testcase/ {
    for (i = 1; i < NF; i++) {
        if ($i ~ / name=$/) name = $(i + 1)
        if ($i ~ / classname=$/) suite = $(i + 1)
        if ($i ~ / time=$/) time = $(i + 1)
    }
    # Two of the programs hold many suites: those are told apart by their module.
    if (suite ~ /::stories$|^roost-node$/) { sub(/::.*/, "", name); suite = suite " " name }
    seconds[suite] += time
    count[suite]++
}
END {
    for (suite in count) printf "%8.1f s %5d tests  %s\n", seconds[suite], count[suite], suite | "sort -rn"
}
