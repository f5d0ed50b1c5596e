#!/bin/sh
# Rules of the house that no compiler checks (ARCHITECTURE.md, "Invariants").
set -eu
cd "$(dirname "$0")/.."
bad=0
fail() { echo "house: $*" >&2; bad=1; }

pure="sip-proxy media-bridge gateway-webrtc dialplan pstn intercom conf"
for crate in $pure; do
    tree=$(cargo tree --locked -p "$crate" -e normal --prefix none --format '{lib}' | cut -d' ' -f1 | sort -u)
    for io in tokio mio async_std socket2 reqwest hyper sqlx nix; do
        echo "$tree" | grep -qx "$io" && fail "$crate depends on $io: only server/ touches the world"
    done
    grep -q 'forbid(unsafe_code)' "$crate/src/lib.rs" || fail "$crate/src/lib.rs does not forbid unsafe_code"
    clock=$(grep -rnE '(Instant|SystemTime|Timestamp|Zoned)::now\(' "$crate/src" | grep -v '^[^:]*tests\.rs:' | grep -vE 'Never|never|///|//!' || true)
    if [ -n "$clock" ]; then
        # Tests at the bottom of a file may take one origin for the virtual clock; code above them may not.
        for file in $(echo "$clock" | cut -d: -f1 | sort -u); do
            tests=$(grep -n '#\[cfg(test)\]' "$file" | head -1 | cut -d: -f1)
            first=$(echo "$clock" | grep "^$file:" | head -1 | cut -d: -f2)
            if [ -z "$tests" ] || [ "$first" -lt "$tests" ]; then fail "$file:$first reads the clock"; fi
        done
    fi
done

# The arrows: crate -> ours it may depend on.
arrows="sip-proxy: media-bridge: dialplan: pstn:sip-proxy gateway-webrtc:media-bridge intercom:sip-proxy,media-bridge,dialplan,pstn
conf:sip-proxy,media-bridge,dialplan,pstn,gateway-webrtc,intercom sipp-tests:"
for arrow in $arrows; do
    crate=${arrow%%:*}
    allowed=",${arrow#*:},"
    for dep in $(sed -n '/^\[dependencies\]/,/^\[/p' "$crate/Cargo.toml" | sed -n 's/^\([a-z-]*\)\.workspace.*/\1/p'); do
        case " $pure server sipp-tests " in
            *" $dep "*) case "$allowed" in *",$dep,"*) ;; *) fail "$crate -> $dep is not an arrow of the house" ;; esac ;;
        esac
    done
done

for file in $(git ls-files -co --exclude-standard '*.rs' '*.ts'); do
    [ -f "$file" ] || continue
    lines=$(wc -l <"$file")
    [ "$lines" -le 1000 ] || fail "$file has $lines lines (1,000 at most)"
    case "$(basename "$file" .rs)" in
        common | util | utils | misc | helper | helpers | manager | handler | types) fail "$file: a name that says nothing" ;;
    esac
done

# Every unsafe block says why it is sound, on the line above or the same.
for file in $(git ls-files -co --exclude-standard '*.rs'); do
    [ -f "$file" ] || continue
    awk -v f="$file" '/unsafe[ \t]*\{|unsafe impl/ { if (prev !~ /SAFETY/ && $0 !~ /SAFETY/) { print f ":" NR; bad = 1 } }
        !/^[ \t]*$/ { if ($0 ~ /^[ \t]*\/\// ) { if (prev ~ /SAFETY/) next } prev = $0 } END { exit bad }' "$file" >&2 || fail "undocumented unsafe in $file"
done

for word in 'todo!(' 'unimplemented!(' 'FIXME'; do
    found=$(git grep -nF "$word" -- '*.rs' || true)
    [ -z "$found" ] || fail "left over: $found"
done
[ "$bad" = 0 ] && echo "house: all rules hold"
exit "$bad"
