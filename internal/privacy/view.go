package privacy

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// view is a text in one plain form, with the place each of its bytes comes
// from. Invisible characters are gone, compatibility forms and digits of every
// script are ASCII, dashes are '-', white space is ' ' or '\n'.
type view struct {
	text string
	from []place // of each byte
}

// place is a rune of a part.
type place struct{ part, start, end int32 }

// gap is where a view leaves text out: nothing is found across it.
const gap = '\x00'

type builder struct {
	b    strings.Builder
	from []place
}

func (b *builder) add(s string, p place) {
	b.b.WriteString(s)
	for range len(s) {
		b.from = append(b.from, p)
	}
}

func (b *builder) append(v *view, start, end int) {
	b.b.WriteString(v.text[start:end])
	b.from = append(b.from, v.from[start:end]...)
}

func (b *builder) view() *view { return &view{b.b.String(), b.from} }

func normalise(part int, text string) *view {
	b := &builder{from: make([]place, 0, len(text))}
	b.b.Grow(len(text))
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		p := place{int32(part), int32(i), int32(i + n)}
		if r < utf8.RuneSelf {
			switch {
			case r == '\t':
				b.add(" ", p)
			case r == '\n' || r == '\r':
				b.add("\n", p)
			case r >= ' ' && r != 0x7f:
				b.add(text[i:i+1], p)
			}
		} else {
			b.add(plain(r), p)
		}
		i += n
	}
	return b.view()
}

// plain is a rune in plain form; "" for what cannot be seen.
func plain(r rune) string {
	switch {
	case unicode.Is(unicode.Nd, r):
		return string('0' + digitOf(r))
	case unicode.In(r, unicode.Cf, unicode.Mn, unicode.Me, unicode.Variation_Selector), r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0:
		return ""
	case unicode.Is(unicode.Pd, r), r == 0x2212, r == 0x2043:
		return "-"
	case unicode.Is(unicode.Zs, r):
		return " "
	case unicode.In(r, unicode.Zl, unicode.Zp), r == 0x85:
		return "\n"
	case unicode.IsControl(r):
		return ""
	case r == 0x3002, r == 0x2024, r == 0xb7, r == 0x2022, r == 0x2027, r == 0x30fb:
		return "."
	}
	var out strings.Builder
	for _, k := range norm.NFKC.String(string(r)) {
		switch {
		case unicode.Is(unicode.Nd, k):
			out.WriteByte(byte('0' + digitOf(k)))
		case unicode.In(k, unicode.Mn, unicode.Cf):
		case unicode.Is(unicode.Pd, k):
			out.WriteByte('-')
		case k == gap:
		default:
			out.WriteRune(k)
		}
	}
	return out.String()
}

// digitOf is the value of a decimal digit of any script: Unicode has each
// script's ten in order, and ranges that hold whole scripts.
func digitOf(r rune) rune {
	for _, x := range unicode.Nd.R16 {
		if rune(x.Lo) <= r && r <= rune(x.Hi) {
			return (r - rune(x.Lo)) % 10
		}
	}
	for _, x := range unicode.Nd.R32 {
		if rune(x.Lo) <= r && r <= rune(x.Hi) {
			return (r - rune(x.Lo)) % 10
		}
	}
	return 0
}

// spans are the places in the parts that bytes of the view come from.
func (v *view) spans(start, end int) []Span {
	var out []Span
	for _, p := range v.from[start:end] {
		if p.start < 0 {
			continue // a joint
		}
		if n := len(out); n > 0 && out[n-1].Part == int(p.part) && int(p.start) <= out[n-1].End+maxBetween && int(p.start) >= out[n-1].Start {
			out[n-1].End = max(out[n-1].End, int(p.end))
			continue
		}
		out = append(out, Span{int(p.part), int(p.start), int(p.end)})
	}
	return out
}

// maxBetween is the invisible text, in bytes, that a span runs over.
const maxBetween = 64

// leastSpaced is how many letters in a row must stand alone to be spaced out.
const leastSpaced = 6

// collapse joins what is spaced out, "j a n e @ e x . o r g"; nil if nothing is.
func collapse(v *view) *view {
	b := &builder{}
	last, any := 0, false
	for i := 0; i < len(v.text); {
		n, end := singles(v.text, i)
		if n < leastSpaced {
			_, size := utf8.DecodeRuneInString(v.text[i:])
			i += size
			continue
		}
		any = true
		b.append(v, last, i)
		for k := i; k < end; {
			_, size := utf8.DecodeRuneInString(v.text[k:])
			if !isSpace(v.text[k]) {
				b.append(v, k, k+size)
			}
			k += size
		}
		last, i = end, end
	}
	if !any {
		return nil
	}
	b.append(v, last, len(v.text))
	return b.view()
}

// spokenDigits are the digits in words; "oh" is only said within a number.
var spokenDigits = map[string]string{"zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}

// leastSpoken is how many words of digits in a row are a number read out.
const leastSpoken = 7

// spoken writes numbers that are read out digit by digit as digits; nil if none
// is.
func spoken(v *view) *view {
	b := &builder{}
	text := v.text
	last, any := 0, false
	for i := 0; i < len(text); {
		n, end := 0, i
		d := &builder{}
		for k := i; k < len(text); {
			e := k
			for e < len(text) && (text[e]|0x20 >= 'a' && text[e]|0x20 <= 'z') {
				e++
			}
			if e-k < 2 || e-k > 5 {
				break
			}
			digit := spokenDigits[strings.ToLower(text[k:e])]
			if digit == "" {
				break
			}
			d.append(&view{digit, []place{{v.from[k].part, v.from[k].start, v.from[e-1].end}}}, 0, 1)
			n, end = n+1, e
			for k = e; k < len(text) && k-e < maxSeparator && strings.IndexByte(" -,.\n", text[k]) >= 0; {
				k++
			}
			if k == e {
				break
			}
		}
		if n >= leastSpoken {
			any = true
			b.append(v, last, i)
			b.append(d.view(), 0, n)
			last, i = end, end
			continue
		}
		// On to the next word.
		for i < len(text) && isWord(rune(text[i])) {
			i++
		}
		for i < len(text) && !isWord(rune(text[i])) {
			i++
		}
	}
	if !any {
		return nil
	}
	b.append(v, last, len(text))
	return b.view()
}

// singles counts the single characters from i on, each with spaces between.
func singles(s string, i int) (n, end int) {
	if i > 0 && !isSpace(s[i-1]) {
		return 0, i
	}
	end = i
	for i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r < utf8.RuneSelf && isSpace(byte(r)) {
			return n, end
		}
		i += size
		if i < len(s) && !isSpace(s[i]) {
			return n, end
		}
		n, end = n+1, i
		for k := 0; k < 3 && i < len(s) && isSpace(s[i]); k++ {
			i++
		}
	}
	return n, end
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' }

// wordAt says whether the runes on both sides of the place between bytes i and
// j belong to one word.
func wordAt(s string, i, j int) bool {
	if i < 0 || j >= len(s) {
		return false
	}
	a, _ := utf8.DecodeLastRuneInString(s[:j])
	b, _ := utf8.DecodeRuneInString(s[j:])
	return isWord(a) && isWord(b)
}

// isWord says whether a rune is of a word that spaces or signs end; scripts
// without spaces between words have none.
func isWord(r rune) bool {
	return (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_') &&
		!unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// context says whether one of the words stands in the text shortly before.
func context(text string, start int, words []string) bool {
	before := strings.ToLower(text[max(0, start-48):start])
	for _, w := range words {
		at := 0
		for {
			k := strings.Index(before[at:], w)
			if k < 0 {
				break
			}
			k += at
			if !wordAt(before, k-1, k) && (len(w) > 4 || !wordAt(before, k+len(w)-1, k+len(w))) {
				return true
			}
			at = k + 1
		}
	}
	return false
}

// run is digits with at most a few separators between them.
type run struct {
	digits string
	pos    []int // of each digit in the text
	groups []int // indexes into digits where a group begins
	seps   []string
	single bool // every group is one digit
}

const maxSeparator = 3

// digitRuns are the runs of a text, in order.
func digitRuns(text string) []run { return runsOf(text, " -./()_\n*", maxSeparator) }

// around are the parts of a text within so many bytes of its runs, in order and
// apart; each holds whole characters.
func around(text string, runs []run, reach int) [][2]int {
	var out [][2]int
	for i := range runs {
		r := &runs[i]
		start, end := max(0, r.pos[0]-reach), min(len(text), r.pos[len(r.pos)-1]+1+reach)
		for start > 0 && !utf8.RuneStart(text[start]) {
			start--
		}
		for end < len(text) && !utf8.RuneStart(text[end]) {
			end++
		}
		if n := len(out); n > 0 && start <= out[n-1][1] {
			out[n-1][1] = end
			continue
		}
		out = append(out, [2]int{start, end})
	}
	return out
}

// runsOf are the runs of a text whose digits have at most so many of the
// separators between them.
func runsOf(text, separators string, most int) []run {
	var out []run
	for i := 0; i < len(text); {
		if !isDigit(text[i]) {
			i++
			continue
		}
		r := run{}
		var digits []byte
		single, length := true, 0
		sep := ""
		for {
			r.groups = append(r.groups, len(digits))
			r.seps = append(r.seps, sep)
			for length = 0; i < len(text) && isDigit(text[i]); length++ {
				digits = append(digits, text[i])
				r.pos = append(r.pos, i)
				i++
			}
			single = single && length == 1
			k := i
			for k < len(text) && k-i < most && strings.IndexByte(separators, text[k]) >= 0 {
				k++
			}
			if k == i || k >= len(text) || !isDigit(text[k]) {
				break
			}
			sep = text[i:k]
			i = k
		}
		r.digits, r.single = string(digits), single
		out = append(out, r)
	}
	return out
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// at says whether a group begins at digit i, or the run ends there.
func (r *run) at(i int) bool {
	if i == len(r.digits) {
		return true
	}
	k := sort.SearchInts(r.groups, i)
	return k < len(r.groups) && r.groups[k] == i
}

// lengths are the lengths of the groups from digit i to j.
func (r *run) lengths(i, j int) []int {
	var out []int
	for k := sort.SearchInts(r.groups, i); k < len(r.groups) && r.groups[k] < j; k++ {
		end := len(r.digits)
		if k+1 < len(r.groups) {
			end = r.groups[k+1]
		}
		out = append(out, min(end, j)-r.groups[k])
	}
	return out
}

// regular says whether the groups from i to j look like one number: all single
// digits, or none of them but the first and last.
func (r *run) regular(i, j int) bool {
	n := r.lengths(i, j)
	ones := 0
	for k, x := range n {
		if x == 1 && k > 0 && k < len(n)-1 {
			ones++
		}
	}
	return ones == 0 || ones == len(n)-2 && n[0] == 1 && n[len(n)-1] == 1
}

// span is the text of digits i to j.
func (r *run) span(i, j int) (start, end int) { return r.pos[i], r.pos[j-1] + 1 }
