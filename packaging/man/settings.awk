# settings.awk - rows of settings.def (and models.def, environment.def) as the tables of spendd.conf(5).
# A row is one line: KIND(field, "path", ..., "doc"); what stands between is read by its kind (settings.def).

function roff(text) {
    gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text)
    gsub(/\001/, "\"", text) # a quote within a string
    return text
}
function words(part, number) { split(part, list, ","); gsub(/[ |]/, "", list[number]); return list[number] }
function apply_of(word) {
    if (word == "LIVE") return "live"
    if (word == "WORKER") return "restarts workers"
    if (word == "FULL") return "full restart"
    return ""
}

/^ENVIRONMENT\(/ {
    split($0, part, "\"")
    printf ".TP\n.B %s\nfills in\n.BR %s .\n", roff(part[2]), roff(part[4])
    next
}

/^ *(MODEL_)?(INT|BOOL|TEXT|SECRET|CHOICE|LIST) *\(/ {
    model = sub(/^ *MODEL_/, "")
    if (model) sub(/\(n, */, "(")
    gsub(/\\"/, "\001")
    kind = $0; sub(/ *\(.*/, "", kind)
    n = split($0, part, "\"")
    path = part[2]; doc = part[n - 1]; value = part[4]; range = ""; apply = ""
    if (kind == "INT") {
        value = words(part[3], 2); range = words(part[3], 3) " to " words(part[3], 4); apply = words(part[3], 5)
    } else if (kind == "BOOL") {
        value = words(part[3], 2); range = "true, false"; apply = words(part[3], 3)
    } else if (kind == "LIST") {
        value = ""; apply = words(part[3], 3)
    } else if (kind == "CHOICE") {
        range = part[6]; gsub(/\|/, ", ", range); value = "\"" value "\""; apply = words(part[7], 2)
    } else {
        value = value == "" ? "empty" : "\"" value "\""; apply = words(part[5], 3)
    }
    if (doc == "" || (!model && apply_of(apply) == "")) {
        print "settings.awk: no row: " $0 > "/dev/stderr"; exit 1
    }
    group = path; sub(/\..*/, "", group)
    if (!model && index(path, ".") && group != last) { printf ".SS %s\n", roff(group); last = group }
    printf ".TP\n.B %s\n%s\n.br\n", roff(path), roff(doc)
    line = kind == "LIST" ? "" : "Default " roff(value)
    if (range != "") line = line "; " roff(range)
    if (!model) line = line (line == "" ? "" : "; ") apply_of(apply)
    if (kind == "SECRET") line = line "; secret"
    print toupper(substr(line, 1, 1)) substr(line, 2) "."
}
