// Package privacy finds what must not leave a device: payment cards, bank
// accounts, keys, addresses, phone numbers, national ids, and the user's own
// words and patterns. Numbers with a checksum are held to it. It sees through
// full-width forms, other scripts' digits, invisible characters, spaced-out
// letters, and what is split over the turns of a conversation. It is pure: no
// clock, no file, no network.
package privacy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"crayon/internal/fault"
)

// The kinds of findings.
const (
	Card    = "card"   // payment card: issuer's range, length, Luhn
	IBAN    = "iban"   // country, form, mod 97
	Secret  = "secret" // API keys, tokens, passwords, private keys
	Mail    = "mail"
	Phone   = "phone" // E.164, and national forms
	ID      = "id"    // US, DE, FR, ES, IT, GB, IN, BR; by checksum where there is one
	IP      = "ip"    // off unless asked for
	Word    = "word"  // the user's
	Pattern = "pattern"
)

// Kinds are those that can be turned on and off.
func Kinds() []string { return []string{Card, IBAN, Secret, Mail, Phone, ID, IP} }

// DefaultKinds are those that are on.
func DefaultKinds() []string { return []string{Card, IBAN, Secret, Mail, Phone, ID} }

// MaxText bounds what is scanned at once, in bytes; more is an error.
const MaxText = 16 << 20

// Options of New.
type Options struct {
	Kinds    []string // nil is DefaultKinds; empty is none
	Words    []string // words and phrases, whatever their case
	Patterns []string // regular expressions (RE2)
	Allow    []string // texts that are not private though they look so, such as a public address
	Redact   bool     // on a finding, leave with placeholders in its place; else stay
}

// Scanner finds private text. It keeps nothing of what it saw. Safe for
// concurrent use.
type Scanner struct {
	kinds    []string
	words    *regexp.Regexp // nil: none
	patterns []*regexp.Regexp
	allow    map[string]bool // by their letters and digits
	redact   bool
}

// Bounds of the user's own lists.
const (
	maxOwn     = 1000
	maxOwnText = 1000 // bytes of one
)

// New checks the options.
func New(o Options) (*Scanner, error) {
	bad := func(what string, err error, hint string) (*Scanner, error) {
		return nil, &fault.Error{Op: "read privacy settings", Path: what, Err: err, Hint: hint, Exit: fault.ExitUsage}
	}
	s := &Scanner{kinds: o.Kinds, redact: o.Redact}
	if o.Kinds == nil {
		s.kinds = DefaultKinds()
	}
	for _, k := range s.kinds {
		if !slices.Contains(Kinds(), k) {
			return bad("privacy.detect", fmt.Errorf("%q is not known", k), "any of "+strings.Join(Kinds(), ", "))
		}
	}
	if len(o.Words) > maxOwn || len(o.Patterns) > maxOwn || len(o.Allow) > maxOwn {
		return bad("privacy.words", fmt.Errorf("more than %d", maxOwn), "")
	}
	var alternatives []string
	for _, w := range o.Words {
		if len(w) > maxOwnText {
			return bad("privacy.words", errors.New("a word is too long"), "")
		}
		// Written as the scanned text is.
		fields := strings.Fields(normalise(0, w).text)
		for i := range fields {
			fields[i] = regexp.QuoteMeta(fields[i])
		}
		if len(fields) > 0 {
			alternatives = append(alternatives, strings.Join(fields, `\s+`))
		}
	}
	if len(alternatives) > 0 {
		re, err := regexp.Compile(`(?i)(?:` + strings.Join(alternatives, "|") + `)`)
		if err != nil {
			return bad("privacy.words", err, "")
		}
		s.words = re
	}
	s.allow = map[string]bool{}
	for _, a := range o.Allow {
		if len(a) > maxOwnText {
			return bad("privacy.allow", errors.New("a text is too long"), "")
		}
		if a = bare(a); a != "" {
			s.allow[a] = true
		}
	}
	for i, p := range o.Patterns {
		re, err := regexp.Compile(p)
		switch {
		case len(p) > maxOwnText:
			err = errors.New("it is too long")
		case err == nil && re.MatchString(""):
			err = errors.New("it matches nothing at all, so everything")
		}
		if err != nil {
			return bad(fmt.Sprintf("privacy.patterns, number %d", i+1), err, "a regular expression as RE2 has them")
		}
		s.patterns = append(s.patterns, re)
	}
	return s, nil
}

// Default is the scanner without any settings.
func Default() *Scanner {
	return &Scanner{kinds: DefaultKinds()}
}

// Redacts says whether findings are to be redacted rather than stay.
func (s *Scanner) Redacts() bool { return s.redact }

// Part is a piece of a request: a turn of a conversation, or text beside it.
type Part struct {
	Role string // user, assistant, ...; "" for what is no turn
	Text string
}

// Span is bytes of a part's text.
type Span struct{ Part, Start, End int }

// Match is one finding. What is split over turns has several spans.
type Match struct {
	Kind  string
	Spans []Span
}

// ErrScan is the cause when a text could not be scanned; it must not leave.
var ErrScan = errors.New("the text can't be scanned")

// Scan finds what is private in the parts, alone and joined.
func (s *Scanner) Scan(parts []Part) (found []Match, err error) {
	defer func() {
		if p := recover(); p != nil {
			found, err = nil, fmt.Errorf("%w: %v", ErrScan, p)
		}
	}()
	size := 0
	for _, p := range parts {
		size += len(p.Text)
	}
	if size > MaxText {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrScan, size)
	}
	views := make([]*view, len(parts))
	for i, p := range parts {
		views[i] = normalise(i, p.Text)
		found = append(found, s.look(views[i], nil)...)
		for _, other := range []*view{collapse(views[i]), spoken(views[i])} {
			if other != nil {
				found = append(found, s.look(other, nil)...)
			}
		}
		for _, re := range s.patterns {
			for _, at := range re.FindAllStringIndex(p.Text, -1) {
				found = append(found, Match{Pattern, []Span{{i, at[0], at[1]}}})
			}
		}
	}
	for _, j := range joins(parts, views) {
		found = append(found, s.look(j.view, j)...)
	}
	if len(s.allow) > 0 {
		found = slices.DeleteFunc(found, func(m Match) bool {
			var text strings.Builder
			for _, x := range m.Spans {
				text.WriteString(parts[x.Part].Text[x.Start:x.End])
			}
			return s.allow[bare(text.String())]
		})
	}
	return merge(found), nil
}

// bare is the letters and digits of a text in plain form, in small letters.
func bare(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, normalise(0, text).text)
}

// KindsOf are the kinds of findings, each once, in order.
func KindsOf(found []Match) []string {
	var out []string
	for _, m := range found {
		out = append(out, m.Kind)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// look runs the detectors over a view; of a joined one it keeps only what spans
// parts and is of its kinds.
func (s *Scanner) look(v *view, j *joined) []Match {
	var out []Match
	add := func(kind string, start, end int) {
		spans := v.spans(start, end)
		if len(spans) == 0 || j != nil && (!several(spans) || !j.likely(kind, start, end)) {
			return
		}
		out = append(out, Match{kind, spans})
	}
	runs := digitRuns(v.text)
	for _, kind := range s.kinds {
		if j != nil && j.kinds != nil && !slices.Contains(j.kinds, kind) {
			continue
		}
		detectors[kind](v.text, runs, func(start, end int) { add(kind, start, end) })
	}
	if j != nil && !j.own {
		return out
	}
	if s.words != nil {
		for _, at := range s.words.FindAllStringIndex(v.text, -1) {
			if !wordAt(v.text, at[0]-1, at[0]) && !wordAt(v.text, at[1]-1, at[1]) {
				add(Word, at[0], at[1])
			}
		}
	}
	for _, re := range s.patterns {
		for _, at := range re.FindAllStringIndex(v.text, -1) {
			add(Pattern, at[0], at[1])
		}
	}
	return out
}

func several(spans []Span) bool {
	return slices.ContainsFunc(spans, func(x Span) bool { return x.Part != spans[0].Part })
}

// merge sorts findings and leaves out those within others.
func merge(found []Match) []Match {
	slices.SortStableFunc(found, func(a, b Match) int {
		x, y := a.Spans[0], b.Spans[0]
		if x.Part != y.Part {
			return x.Part - y.Part
		}
		if x.Start != y.Start {
			return x.Start - y.Start
		}
		return y.End - x.End
	})
	out := found[:0]
	for _, m := range found {
		if n := len(out); n > 0 && m.Kind == out[n-1].Kind && slices.Equal(m.Spans, out[n-1].Spans) {
			continue
		}
		out = append(out, m)
	}
	return out
}

// detectors by kind: each calls add with the byte range of every finding.
var detectors = map[string]func(text string, runs []run, add func(start, end int)){
	Card: findCards, IBAN: findIBANs, Secret: findSecrets, Mail: findMails, Phone: findPhones, ID: findIDs, IP: findIPs,
}
