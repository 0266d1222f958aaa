package store

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"crayon/internal/fault"

	"github.com/agnivade/levenshtein"
)

// MaxName is the longest name of a customisation, in bytes.
const MaxName = 64

// reserved can't be names: "base" means the bare model, and the rest are
// devices on Windows whatever their extension.
var reserved = []string{"base", "con", "prn", "aux", "nul",
	"com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
	"lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9"}

// CheckName says why a name can't be a customisation's, or nil: 1 to 64 of
// a-z A-Z 0-9 . _ -, starting with a letter or digit, not ending in a dot,
// and not reserved.
func CheckName(name string) error {
	why := ""
	stem, _, _ := strings.Cut(strings.ToLower(name), ".")
	switch {
	case name == "":
		why = "it is empty"
	case len(name) > MaxName:
		why = fmt.Sprintf("it is longer than %d characters", MaxName)
	case strings.IndexFunc(name, func(r rune) bool { return !nameRune(r) }) >= 0:
		why = "only letters a-z, digits, '.', '_' and '-' are allowed"
	case strings.ContainsRune("._-", rune(name[0])):
		why = "it must start with a letter or a digit"
	case strings.HasSuffix(name, "."):
		why = "it must not end in a dot"
	case slices.Contains(reserved, stem):
		why = fmt.Sprintf("%q is reserved", stem)
	}
	if why == "" {
		return nil
	}
	hint := "choose a name of letters, digits, '.', '_' and '-'"
	if s := suggestName(name); s != "" {
		hint = "use " + s
	}
	return &fault.Error{Op: "name", Path: fmt.Sprintf("%q", clip(name)), Err: fmt.Errorf("not a usable name: %s", why), Hint: hint, Exit: fault.ExitUsage}
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
}

// suggestName is name with what is not allowed replaced, or "".
func suggestName(name string) string {
	s := strings.Map(func(r rune) rune {
		if nameRune(r) {
			return r
		}
		return '-'
	}, name)
	s = strings.Trim(s[:min(len(s), MaxName)], "._-")
	stem, _, _ := strings.Cut(strings.ToLower(s), ".")
	if s == "" || slices.Contains(reserved, stem) {
		return ""
	}
	return s
}

func clip(s string) string {
	if len(s) <= MaxName {
		return s
	}
	cut := MaxName
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// Nearest is the one of names that name was most likely meant to be, or ""
// when none is near: at most a third of its letters may differ, but always one,
// and two (a swap) from four letters on. Case is no difference. Of equals the
// first wins.
func Nearest(name string, names []string) string {
	best, least := "", 0
	lower := strings.ToLower(clip(name))
	for _, n := range names {
		d := levenshtein.ComputeDistance(lower, strings.ToLower(n))
		if best == "" || d < least {
			best, least = n, d
		}
	}
	n := max(utf8.RuneCountInString(lower), utf8.RuneCountInString(best))
	if best == "" || least > max(n/3, min(2, n/2), 1) {
		return ""
	}
	return best
}
