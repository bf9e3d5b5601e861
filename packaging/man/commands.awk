# commands.awk - common/admin/commands.def as something else: -v as=man, bash or zsh; workers/roster.def before it.
# A row is one line: KIND(id, "word", least, most, "arguments", "help").  What stands in the arguments in
# lower case, or begins with "--", is a word that can be completed; WORKER is any name of the roster.

/^WORKER\(/ { split($0, part, "[(,]"); workers = workers " " part[2]; next }

/^(COMMAND|ORDER|TOOL) *\(/ {
    n = split($0, part, "\"")
    word = part[2]; arguments = part[4]; help = part[6]
    if (n < 7) { print "commands.awk: no row: " $0 > "/dev/stderr"; exit 1 }
    if (as == "man") {
        gsub(/-/, "\\-", word); gsub(/-/, "\\-", arguments); gsub(/-/, "\\-", help)
        printf ".TP\n.B %s\n", word
        if (arguments != "") printf ".I %s\n.br\n", arguments
        print help "."
        next
    }
    rest = arguments
    gsub(/[][|.]/, " ", rest)
    m = split(rest, given, " "); known = ""
    for (i = 1; i <= m; i++)
        if (given[i] == "WORKER") known = known workers
        else if (given[i] ~ /^(--)?[a-z][a-z-]*$/) known = known " " given[i]
    words = words " " word
    if (as == "bash" && known != "") cases = cases sprintf("        %s) words=\"%s\" ;;\n", word, substr(known, 2))
    if (as == "zsh") {
        gsub(/[':]/, " ", help)
        list = list sprintf("        '%s:%s'\n", word, help)
        if (known != "") cases = cases sprintf("        %s) compadd -- %s ;;\n", word, known)
    }
}
END {
    options = "--json --runtime-dir --socket --keys --server-key --timeout --help"
    if (as == "bash") {
        print "# bash completion for spendctl; made from commands.def"
        print "_spendctl() {"
        print "    local word=${COMP_WORDS[COMP_CWORD]} command= words= i"
        print "    for ((i = 1; i < COMP_CWORD; i++)); do"
        print "        case ${COMP_WORDS[i]} in"
        print "        -[dsktS] | --runtime-dir | --socket | --keys | --server-key | --timeout) ((i++)) ;;"
        print "        -*) ;;"
        print "        *) command=${COMP_WORDS[i]}; break ;;"
        print "        esac"
        print "    done"
        print "    case $command in"
        printf "        '') words=\"%s %s\" ;;\n", substr(words, 2), options
        printf "%s", cases
        print "    esac"
        print "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))"
        print "}"
        print "complete -F _spendctl spendctl"
    }
    if (as == "zsh") {
        print "#compdef spendctl"
        print "# zsh completion for spendctl; made from commands.def"
        print "local -a commands"
        printf "commands=(\n%s)\n", list
        print "if ((CURRENT == 2)); then"
        printf "    _describe command commands\n    compadd -- %s\n", options
        print "else"
        printf "    case $words[2] in\n%s    esac\n", cases
        print "fi"
    }
}
