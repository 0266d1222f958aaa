package privacy

import (
	"math"
	"strings"
)

// joint is how much of a turn's beginning and end is looked at beside its
// neighbours', in bytes.
const joint = 160

// joined is a view over the seams of a conversation.
type joined struct {
	*view
	parts  []Part
	kinds  []string // looked for in it; nil is all
	own    bool     // and the user's words and patterns
	pieces bool     // all but pieces of numbers or keys is left out
}

// joins are the views over the seams of the conversation, each with and
// without a space between turns:
//
//   - all turns, and the user's alone, as they are;
//   - with ordinary words left out, for what its own check or form tells from
//     chance;
//   - what may be pieces of one number or key that the user says in several
//     turns ("it starts with 4111 1111", "and then 1111 1111").
func joins(parts []Part, views []*view) []*joined {
	var all, users []*view
	for i, p := range parts {
		if p.Role == "" || views[i].text == "" {
			continue
		}
		all = append(all, views[i])
		if p.Role == "user" {
			users = append(users, views[i])
		}
	}
	var out []*joined
	for _, turns := range [][]*view{all, users} {
		if len(turns) < 2 || len(turns) == len(all) && len(out) > 0 {
			continue
		}
		var bare []*view
		for _, v := range turns {
			if v := values(v); v.text != "" {
				bare = append(bare, v)
			}
		}
		for _, between := range []string{"", " "} {
			out = append(out, &joined{parts: parts, view: seams(turns, between), own: true})
			if len(bare) > 1 {
				out = append(out, &joined{parts: parts, view: seams(bare, between), kinds: []string{IBAN, Mail}, own: true})
			}
		}
	}
	if len(users) < 2 {
		return out
	}
	var numbers, tokens []dictated
	for _, v := range users {
		numbers, tokens = append(numbers, numbersIn(v)), append(tokens, tokensIn(v))
	}
	for _, c := range []struct {
		kinds []string
		most  int
	}{{[]string{Card}, math.MaxInt}, {[]string{Phone, ID, IP}, manyWords}} {
		for _, v := range chains(numbers, c.most) {
			for _, between := range []string{"", " "} {
				out = append(out, &joined{parts: parts, view: seams(v, between), kinds: c.kinds, pieces: true})
			}
		}
	}
	for _, v := range chains(tokens, math.MaxInt) {
		out = append(out, &joined{parts: parts, view: seams(v, ""), kinds: []string{Secret}, pieces: true})
	}
	return out
}

// likely says whether what was found between two bytes is more than words that
// happen to stand in a row.
func (j *joined) likely(kind string, start, end int) bool {
	if j.kinds == nil || kind == Mail {
		return true
	}
	// A number does not begin or end within a word.
	first, last := j.from[start], j.from[end-1]
	if first.part < 0 || last.part < 0 {
		return false
	}
	a, b := j.parts[first.part].Text, j.parts[last.part].Text
	if wordAt(a, int(first.start)-1, int(first.start)) || wordAt(b, int(last.end)-1, int(last.end)) {
		return false
	}
	switch kind {
	case Phone:
		// Two numbers of five digits are a phone number only in one breath.
		spans := j.spans(start, end)
		return !j.pieces || len(spans) != 2 || end-start > 11 || digitsOf(j.text[start:end]) != 10 || strings.HasSuffix(j.text[:start], phoneWords[0]+" ")
	case Secret:
		// A key changes between letters and digits, or to capitals, all the time.
		n := 0
		for _, x := range j.spans(start, end) {
			n += changes(j.parts[x.Part].Text[x.Start:x.End])
		}
		return end-start < denseLength || keyStart.MatchString(j.text[start:end]) || n*5 >= end-start
	}
	return true
}

// seams joins the ends of turns to the beginnings of the next.
func seams(turns []*view, between string) *view {
	b := &builder{}
	for i, v := range turns {
		if i > 0 {
			b.add(between, place{-1, -1, -1})
		}
		text := v.text
		head := len(text)
		if len(text) > 2*joint {
			head = joint
		}
		// Space at the seam itself says nothing.
		start, end := 0, len(text)
		for start < end && isSpace(text[start]) {
			start++
		}
		for end > start && isSpace(text[end-1]) {
			end--
		}
		if head == len(text) {
			b.append(v, start, end)
			continue
		}
		b.append(v, min(start, head), head)
		b.cut()
		b.append(v, min(len(text)-joint, end), end)
	}
	return b.view()
}

// cut leaves a gap.
func (b *builder) cut() { b.add(string(rune(gap)), place{-1, -1, -1}) }

// word is a word of a view without the signs around it: bytes start to end of
// the text, the next begins at next.
type word struct{ start, end, next int }

// wordFrom is the word at or after byte i; ok is false after the last.
func wordFrom(text string, i int) (w word, ok bool) {
	for i < len(text) && isSpace(text[i]) {
		i++
	}
	if i == len(text) {
		return w, false
	}
	w = word{start: i, end: i}
	for w.end < len(text) && !isSpace(text[w.end]) {
		w.end++
	}
	w.next = w.end
	for w.end > w.start && strings.IndexByte(".,;:!?\"')", text[w.end-1]) >= 0 {
		w.end--
	}
	for w.start < w.end && strings.IndexByte("\"'(:", text[w.start]) >= 0 {
		w.start++
	}
	return w, true
}

// values leaves out of a turn the words that are only letters, unless these are
// all capitals, and what ends a sentence. A letter alone stays beside such a word.
func values(v *view) *view {
	b := &builder{}
	beside := false
	for w, ok := wordFrom(v.text, 0); ok; w, ok = wordFrom(v.text, w.next) {
		s := v.text[w.start:w.end]
		if len(s) == 1 && w.end == w.next && class(s[0]) == 'A' && !beside {
			next, ok := wordFrom(v.text, w.next)
			beside = ok && ofID(v.text[next.start:next.end])
		}
		if strings.ContainsAny(s, "0123456789@-_.") || (len(s) > 1 || beside) && s != "" && s == strings.ToUpper(s) {
			if b.b.Len() > 0 {
				b.add(" ", place{-1, -1, -1})
			}
			b.append(v, w.start, w.end)
		}
		beside = ofID(s)
	}
	return b.view()
}

// ofID says whether a word has a digit, or is of several capitals.
func ofID(s string) bool { return hasDigit(s) || len(s) > 1 && capital(s) }

func hasDigit(s string) bool { return strings.ContainsAny(s, "0123456789") }
