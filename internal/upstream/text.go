package upstream

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"

	"crayon/internal/privacy"

	"github.com/tidwall/gjson"
)

// partsOf are all texts of a request's body: the turns of the conversation by
// their roles, and every other string, name and large number. A name that is
// there twice is read twice, whichever of the two its server takes.
func partsOf(body []byte) []privacy.Part {
	if len(body) == 0 {
		return nil
	}
	if !gjson.ValidBytes(body) {
		return []privacy.Part{{Role: "user", Text: string(body)}}
	}
	v := gjson.ParseBytes(body)
	if !v.IsObject() {
		return []privacy.Part{{Text: strings.Join(stringsOf(v, nil), "\n")}}
	}
	var parts []privacy.Part
	v.ForEach(func(name, v gjson.Result) bool {
		switch name := name.String(); {
		case name == "messages" && v.IsArray():
			v.ForEach(func(_, turn gjson.Result) bool {
				parts = append(parts, turnParts(turn)...)
				return true
			})
		case name != "seed":
			parts = append(parts, privacy.Part{Text: strings.Join(member(name, v, nil), "\n")})
		}
		return true
	})
	return parts
}

// turnParts are what a message says and, beside it, all that it does not say.
func turnParts(turn gjson.Result) (parts []privacy.Part) {
	if !turn.IsObject() {
		if all := stringsOf(turn, nil); len(all) > 0 {
			parts = append(parts, privacy.Part{Text: strings.Join(all, "\n")})
		}
		return parts
	}
	role := "user"
	var rest []string
	turn.ForEach(func(name, v gjson.Result) bool {
		switch name := name.String(); {
		case name == "role" && v.Type == gjson.String && len(v.Str) < 16:
			role = v.Str
			return true
		case name == "content" && v.Type == gjson.String:
			parts = append(parts, privacy.Part{Text: v.Str})
			return true
		case name == "content":
			parts = append(parts, privacy.Part{Text: said(v)})
		case name == "tool_call_id" && madeID(v):
			rest = append(rest, halves(v.Str))
			return true
		case name == "tool_calls" && v.IsArray():
			v.ForEach(func(_, call gjson.Result) bool {
				rest = append(rest, callStrings(call)...)
				return true
			})
			return true
		}
		rest = member(name.String(), v, rest)
		return true
	})
	for i := range parts {
		parts[i].Role = role
	}
	if len(rest) > 0 {
		parts = append(parts, privacy.Part{Text: strings.Join(rest, "\n")})
	}
	return parts
}

// said is the text of a message's content that comes in parts.
func said(content gjson.Result) string {
	var texts []string
	for _, part := range content.Array() {
		if text := part.Get("text"); text.Type == gjson.String {
			texts = append(texts, text.Str)
		}
	}
	return strings.Join(texts, "\n")
}

// callStrings are the strings of a tool call.
func callStrings(call gjson.Result) (all []string) {
	if !call.IsObject() {
		return stringsOf(call, nil)
	}
	call.ForEach(func(name, v gjson.Result) bool {
		if name.String() == "id" && madeID(v) {
			all = append(all, halves(v.Str))
		} else {
			all = member(name.String(), v, all)
		}
		return true
	})
	return all
}

// ids are the forms of tool calls' ids as servers make them. Some look like
// keys, being long and random, and every later turn has them.
var ids = regexp.MustCompile(`^(?:(?:(?:call|tool|toolu|tooluse|chatcmpl|fc|function)[_-])+[A-Za-z0-9]{1,40}|[A-Za-z0-9]{32})$`)

func madeID(v gjson.Result) bool { return v.Type == gjson.String && ids.MatchString(v.Str) }

// halves cuts an id so that it is not taken for a key by its randomness; a card
// or a phone number is found across the space.
func halves(id string) string { return id[:len(id)/2] + " " + id[len(id)/2:] }

// leastDigits is how long a number must be to be looked at.
const leastDigits = 8

// member is a name with its value: on one line where the value is a text or a
// number, since "password" and what stands for it are found together alone.
func member(name string, v gjson.Result, to []string) []string {
	switch {
	case v.Type == gjson.String:
		return append(to, name+": "+v.Str)
	case v.Type == gjson.Number && len(v.Raw) >= leastDigits:
		return append(to, name+": "+v.Raw)
	}
	return stringsOf(v, append(to, name))
}

func stringsOf(v gjson.Result, to []string) []string {
	switch {
	case v.Type == gjson.String:
		return append(to, v.Str)
	case v.Type == gjson.Number && len(v.Raw) >= leastDigits:
		return append(to, v.Raw)
	case v.IsObject():
		v.ForEach(func(name, x gjson.Result) bool {
			to = member(name.String(), x, to)
			return true
		})
	case v.IsArray():
		v.ForEach(func(_, x gjson.Result) bool {
			to = stringsOf(x, to)
			return true
		})
	}
	return to
}

// mostEscapes is how many times JSON may stand as a text within JSON.
const mostEscapes = 8

// unescaped are the parts with the escapes of JSON undone, nil where there are
// none; an error where there are escapes within escapes without end. Arguments
// and results of tools are JSON as a text, in which "M\u00fcller" is how many
// programs write a name.
func unescaped(parts []privacy.Part) (plain []privacy.Part, err error) {
	for i, p := range parts {
		text := p.Text
		for n := 0; ; n++ {
			next := unescape(text)
			if next == text {
				break
			}
			if n == mostEscapes {
				return nil, fmt.Errorf("%w: it has escapes within escapes", privacy.ErrScan)
			}
			text = next
		}
		if text == p.Text {
			continue
		}
		if plain == nil {
			plain = append(plain, parts...)
		}
		plain[i].Text = text
	}
	return plain, nil
}

// unescape undoes the escapes of JSON in a text, whether or not all of it is
// JSON; what is none stays.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch c := s[i+1]; c {
		case '"', '\\', '/':
			b.WriteByte(c)
			i++
		case 'b', 'f', 'n', 'r', 't':
			b.WriteByte("\b\f\n\r\t"[strings.IndexByte("bfnrt", c)])
			i++
		case 'u':
			r, ok := hex4(s[i+1:])
			if !ok {
				b.WriteByte('\\')
				break
			}
			i += 5
			if utf16.IsSurrogate(r) && strings.HasPrefix(s[i+1:], `\u`) {
				if low, ok := hex4(s[i+2:]); ok && utf16.DecodeRune(r, low) != '\uFFFD' {
					r = utf16.DecodeRune(r, low)
					i += 6
				}
			}
			b.WriteRune(r)
		default:
			b.WriteByte('\\')
		}
	}
	return b.String()
}

// hex4 reads the four digits after a u.
func hex4(s string) (rune, bool) {
	if len(s) < 5 {
		return 0, false
	}
	x, err := strconv.ParseUint(s[1:5], 16, 16)
	return rune(x), err == nil
}
