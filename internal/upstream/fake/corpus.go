package fake

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"crayon/internal/privacy"
)

// Turn is a message of a conversation.
type Turn struct{ Role, Content string }

// Case is a conversation that holds something private.
type Case struct {
	Kind  string // as privacy names it
	Form  string // how it is written
	Value string // the private text in plain form, letters and digits alone
	Turns []Turn
}

// PrivateCorpus makes n conversations, each with one private string, of every
// kind and in every way of writing it; equal seeds give equal conversations.
func PrivateCorpus(seed uint64, n int) []Case {
	r := rand.New(rand.NewPCG(seed, 1))
	var out []Case
	for len(out) < n {
		for _, g := range generators {
			for _, form := range forms {
				if !form.fits(g.kind) {
					continue
				}
				value := g.make(r)
				c := Case{Kind: g.kind, Form: g.name + ", " + form.name, Value: Squeeze(value)}
				c.Turns = form.write(r, value, leads[g.kind][r.IntN(len(leads[g.kind]))])
				out = append(out, c)
			}
		}
	}
	return out[:n]
}

// Squeeze is the letters and digits of s, in small letters.
func Squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 32
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, s)
}

var leads = map[string][]string{
	privacy.Card:   {"please charge", "my card is", "why was this card declined:", "Kreditkarte", "pay with"},
	privacy.IBAN:   {"transfer the rent to", "my account is", "IBAN", "is this account right?"},
	privacy.Secret: {"why does this fail:", "I use", "set it to", "export KEY="},
	privacy.Mail:   {"write to", "my address is", "who owns", "cc"},
	privacy.Phone:  {"call me at", "my phone number is", "Telefon", "whatsapp"},
	privacy.ID:     {"my social security number is", "my SSN:", "tax id", "social security no."},
}

type generator struct {
	kind, name string
	make       func(*rand.Rand) string
}

func digits(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + r.IntN(10))
	}
	return string(b)
}

func pick(r *rand.Rand, n int, from string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = from[r.IntN(len(from))]
	}
	return string(b)
}

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	alnum   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)

// until draws strings until one holds.
func until(make func() string, holds func(string) bool) string {
	for {
		if s := make(); holds(s) {
			return s
		}
	}
}

// mixed holds for keys such as real ones are: with letters and digits.
func mixed(s string) bool {
	return strings.ContainsAny(s, "0123456789") && strings.ContainsAny(s, letters)
}

func group(s string, sep string, sizes ...int) string {
	var parts []string
	for _, n := range sizes {
		parts, s = append(parts, s[:n]), s[n:]
	}
	return strings.Join(append(parts, s), sep)
}

var generators = []generator{
	{privacy.Card, "visa", func(r *rand.Rand) string {
		d := until(func() string { return "4" + digits(r, 15) }, privacy.Luhn)
		return []string{d, group(d, " ", 4, 4, 4), group(d, "-", 4, 4, 4)}[r.IntN(3)]
	}},
	{privacy.Card, "mastercard", func(r *rand.Rand) string {
		d := until(func() string { return "5" + string('1'+rune(r.IntN(5))) + digits(r, 14) }, privacy.Luhn)
		return []string{d, group(d, " ", 4, 4, 4)}[r.IntN(2)]
	}},
	{privacy.Card, "amex", func(r *rand.Rand) string {
		d := until(func() string { return "37" + digits(r, 13) }, privacy.Luhn)
		return []string{d, group(d, " ", 4, 6), group(d, "-", 4, 6)}[r.IntN(3)]
	}},
	{privacy.IBAN, "german", func(r *rand.Rand) string { return iban(r, "DE", digits(r, 18)) }},
	{privacy.IBAN, "british", func(r *rand.Rand) string { return iban(r, "GB", pick(r, 4, letters)+digits(r, 14)) }},
	{privacy.IBAN, "french", func(r *rand.Rand) string {
		return iban(r, "FR", digits(r, 10)+pick(r, 11, letters+"0123456789")+digits(r, 2))
	}},
	{privacy.Secret, "model key", func(r *rand.Rand) string {
		return "sk-proj-" + until(func() string { return pick(r, 40, alnum) }, mixed)
	}},
	{privacy.Secret, "repository token", func(r *rand.Rand) string { return "ghp_" + until(func() string { return pick(r, 36, alnum) }, mixed) }},
	{privacy.Secret, "cloud key", func(r *rand.Rand) string {
		return "AKIA" + until(func() string { return pick(r, 16, letters+"234567") }, mixed)
	}},
	{privacy.Mail, "mail", func(r *rand.Rand) string {
		return pick(r, 4+r.IntN(5), "abcdefghijklm") + "." + pick(r, 6, "nopqrstuvwxyz") + "@" + pick(r, 7, "abcdefgh") + []string{".org", ".co.uk", ".de"}[r.IntN(3)]
	}},
	{privacy.Phone, "international", func(r *rand.Rand) string {
		return []string{"+49 171 " + digits(r, 7), "+44 20 7" + digits(r, 3) + " " + digits(r, 4), "+1-" + nanp(r), "+33 6 " + group(digits(r, 8), " ", 2, 2, 2)}[r.IntN(4)]
	}},
	{privacy.Phone, "american", nanp},
	{privacy.Phone, "european", func(r *rand.Rand) string {
		return []string{"0171 " + digits(r, 7), "07700 9" + digits(r, 5), "06 " + group(digits(r, 8), " ", 2, 2, 2)}[r.IntN(3)]
	}},
	{privacy.ID, "US", func(r *rand.Rand) string {
		return group(until(func() string { return digits(r, 9) }, func(s string) bool { return s[0] != '9' && privacy.SSN(s) }), "-", 3, 2)
	}},
	{privacy.ID, "DE", func(r *rand.Rand) string {
		return group(until(func() string { return digits(r, 11) }, privacy.SteuerID), " ", 2, 3, 3)
	}},
	{privacy.ID, "FR", func(r *rand.Rand) string {
		return until(func() string { return "1" + digits(r, 2) + "07" + digits(r, 10) }, privacy.NIR)
	}},
	{privacy.ID, "ES", func(r *rand.Rand) string {
		d := digits(r, 8)
		n := 0
		fmt.Sscan("1"+d, &n)
		return d + "TRWAGMYFPDXBNJZSQVHLCKE"[(n-100000000)%23:][:1]
	}},
	{privacy.ID, "IT", func(r *rand.Rand) string {
		head := pick(r, 6, letters) + digits(r, 2) + pick(r, 1, "ABCDEHLMPRST") + digits(r, 2) + pick(r, 1, letters) + digits(r, 3)
		return until(func() string { return head + pick(r, 1, letters) }, privacy.CodiceFiscale)
	}},
	{privacy.ID, "GB", func(r *rand.Rand) string { return "AB" + group(digits(r, 6), " ", 2, 2) + pick(r, 1, "ABCD") }},
	{privacy.ID, "IN", func(r *rand.Rand) string {
		return group(until(func() string { return digits(r, 12) }, privacy.Aadhaar), " ", 4, 4)
	}},
	{privacy.ID, "BR", func(r *rand.Rand) string {
		d := until(func() string { return digits(r, 11) }, privacy.CPF)
		return d[:3] + "." + d[3:6] + "." + d[6:9] + "-" + d[9:]
	}},
}

func nanp(r *rand.Rand) string {
	d := string('2'+rune(r.IntN(8))) + digits(r, 2) + string('2'+rune(r.IntN(8))) + digits(r, 6)
	return []string{group(d, "-", 3, 3), "(" + d[:3] + ") " + d[3:6] + "-" + d[6:], group(d, " ", 3, 3)}[r.IntN(3)]
}

// iban puts the check digits behind the country.
func iban(r *rand.Rand, country, account string) string {
	rest := 0
	for _, c := range account + country + "00" {
		if c >= 'A' {
			rest = (rest*100 + int(c-'A') + 10) % 97
		} else {
			rest = (rest*10 + int(c-'0')) % 97
		}
	}
	s := fmt.Sprintf("%s%02d%s", country, 98-rest, account)
	if r.IntN(2) == 0 {
		return s
	}
	var parts []string
	for len(s) > 4 {
		parts, s = append(parts, s[:4]), s[4:]
	}
	return strings.Join(append(parts, s), " ")
}

// form is a way of writing a private string.
type form struct {
	name  string
	not   string // kinds it makes no sense for
	write func(r *rand.Rand, value, lead string) []Turn
}

func (f form) fits(kind string) bool { return !strings.Contains(f.not, kind) }

func one(text string) []Turn { return []Turn{{"user", text}} }

// each maps every character.
func each(value string, f func(i int, c rune) string) string {
	var b strings.Builder
	for i, c := range value {
		b.WriteString(f(i, c))
	}
	return b.String()
}

// script writes digits of another script, whose zero is given.
func script(zero rune) func(*rand.Rand, string, string) []Turn {
	return func(_ *rand.Rand, value, lead string) []Turn {
		return one(lead + " " + each(value, func(_ int, c rune) string {
			if c >= '0' && c <= '9' {
				return string(zero + c - '0')
			}
			return string(c)
		}) + " please")
	}
}

// cut splits a value near its middle, within one of its groups or between two.
func cut(r *rand.Rand, value string, parts int) []string {
	var out []string
	for ; parts > 1; parts-- {
		n := len(value)/parts + r.IntN(3) - 1
		out, value = append(out, value[:n]), value[n:]
	}
	return append(out, value)
}

// groups are a value's own groups, or some four characters each.
func groups(value string) []string {
	if at := strings.IndexByte(value, '@'); at > 0 {
		dot := at + strings.IndexByte(value[at:], '.')
		return []string{value[:at], value[at:dot], value[dot:]}
	}
	if out := strings.FieldsFunc(value, func(c rune) bool { return strings.ContainsRune(" -()", c) }); len(out) > 1 && len(out) < 8 {
		return out
	}
	value = strings.ReplaceAll(value, " ", "")
	var out []string
	for n := 4 + len(value)/20*4; len(value) > n; value = value[n:] {
		out = append(out, value[:n])
	}
	return append(out, value)
}

// What people say around the first, a further and the last piece, and what they
// are answered.
var (
	firsts  = []string{"%s", "it starts with %s", "the first part is %s.", "Hello! I want to pay for the two books I ordered last week, and it begins with %s, ok?", "ok, first %s"}
	nexts   = []string{"%s", "then %s", "and then %s.", "next: %s", "after that comes %s", "the next bit, if I read the small print right, is %s"}
	ends    = []string{"%s", "and %s at the end", "the rest is %s", "it ends with %s.", "and finally %s, that's all. Can you do it now please?", "the last ones are %s"}
	replies = []string{"ok", "Go on, please.", "Got it. And then?", "Thank you, I have noted that. Please go on with the next part whenever you are ready, and take your time; there is no hurry at all.", "", "Yes?"}
	asides  = []string{"wait, let me look", "sorry, someone is at the door", "is this safe?"}
)

// dictate says pieces in turns of their own.
func dictate(r *rand.Rand, pieces []string, first string) []Turn {
	var out []Turn
	for i, p := range pieces {
		say := some(r, nexts...)
		switch i {
		case 0:
			say = first
		case len(pieces) - 1:
			say = some(r, ends...)
		}
		out = append(out, Turn{"user", strings.Replace(say, "%s", p, 1)})
		if reply := some(r, replies...); reply != "" && i < len(pieces)-1 {
			out = append(out, Turn{"assistant", reply})
		}
	}
	return out
}

var forms = []form{
	{"plain", "", func(r *rand.Rand, v, lead string) []Turn { return one(lead + " " + v + ", what now?") }},
	{"in a story", "", func(r *rand.Rand, v, lead string) []Turn {
		return one("Hello! I have a question about an invoice of 3 May 2021 over 249.90.\nWell, " + lead + " " + v + "\nThanks, and have a nice day.")
	}},
	{"earlier in the conversation", "", func(r *rand.Rand, v, lead string) []Turn {
		return []Turn{{"user", lead + " " + v}, {"assistant", "Noted."}, {"user", "and why is the sky blue?"}}
	}},
	{"said by the assistant", "", func(r *rand.Rand, v, lead string) []Turn {
		return []Turn{{"user", "what did I say?"}, {"assistant", "You said: " + lead + " " + v}, {"user", "thanks"}}
	}},
	{"full width", "", func(r *rand.Rand, v, lead string) []Turn {
		return one(lead + " " + each(v, func(_ int, c rune) string {
			if c > ' ' && c <= '~' {
				return string(c + 0xfee0)
			}
			return string(c)
		}))
	}},
	{"zero width", "", func(r *rand.Rand, v, lead string) []Turn {
		return one(lead + " " + each(v, func(i int, c rune) string { return string(c) + []string{"\u200b", "\u200d", "\u2060", "\u00ad"}[i%4] }))
	}},
	{"spaced out", "", func(r *rand.Rand, v, lead string) []Turn {
		var parts []string
		for _, c := range v {
			if c != ' ' {
				parts = append(parts, string(c))
			}
		}
		return one(lead + " " + strings.Join(parts, " "))
	}},
	{"arabic digits", "secret mail", script(0x660)},
	{"devanagari digits", "secret mail", script(0x966)},
	{"mathematical digits", "secret", script(0x1d7ce)},
	{"no-break spaces and dashes", "secret mail", func(r *rand.Rand, v, lead string) []Turn {
		return one(lead + " " + strings.NewReplacer(" ", "\u00a0", "-", "\u2011").Replace(v))
	}},
	{"split over two turns", "", func(r *rand.Rand, v, lead string) []Turn {
		p := cut(r, v, 2)
		return []Turn{{"user", lead + " " + p[0]}, {"user", p[1]}}
	}},
	{"split around an answer", "", func(r *rand.Rand, v, lead string) []Turn {
		p := cut(r, v, 2)
		return []Turn{{"user", lead + " " + p[0]}, {"assistant", "Go on, please."}, {"user", p[1]}}
	}},
	{"split with words", "", func(r *rand.Rand, v, lead string) []Turn {
		p := cut(r, v, 2)
		return []Turn{{"user", lead + " " + p[0]}, {"assistant", "And the rest?"}, {"user", "the rest is " + p[1]}}
	}},
	{"split over three turns", "", func(r *rand.Rand, v, lead string) []Turn {
		p := cut(r, v, 3)
		return []Turn{{"user", lead + " " + p[0]}, {"assistant", "Yes?"}, {"user", p[1]}, {"assistant", "And?"}, {"user", p[2]}}
	}},
	{"dictated in two to five pieces", "mail", func(r *rand.Rand, v, lead string) []Turn {
		var pieces []string
		for _, p := range cut(r, strings.ReplaceAll(v, ".", ""), 2+r.IntN(4)) {
			if p = strings.Trim(p, " -()"); p != "" {
				pieces = append(pieces, p)
			}
		}
		return dictate(r, pieces, lead+": "+firsts[r.IntN(3)])
	}},
	{"dictated in its groups", "", func(r *rand.Rand, v, lead string) []Turn {
		return dictate(r, groups(v), []string{lead + " %s", firsts[r.IntN(len(firsts))]}[r.IntN(2)])
	}},
	{"each group a message", "", func(r *rand.Rand, v, lead string) []Turn {
		out := one(lead + "?")
		for _, p := range groups(v) {
			out = append(out, Turn{"user", p}, Turn{"assistant", "ok"})
		}
		return out
	}},
	{"dictated after another number", "", func(r *rand.Rand, v, lead string) []Turn {
		return dictate(r, cut(r, v, 2), []string{
			"Since 2019 I have bought 12 things here for 249.90 or so, " + lead + " %s",
			"I am 47 years old and live at number 1250, and it starts with %s",
		}[r.IntN(2)])
	}},
	{"dictated with other talk between", "", func(r *rand.Rand, v, lead string) []Turn {
		p := cut(r, v, 2)
		return []Turn{{"user", lead + " " + p[0]}, {"assistant", "Yes?"}, {"user", asides[r.IntN(len(asides))]}, {"assistant", "Take your time."}, {"user", "so the rest is " + p[1]}}
	}},
}
