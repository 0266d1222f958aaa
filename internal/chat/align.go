package chat

import (
	"fmt"
	"strings"
)

// mark replaces each content that is not blank by a text found neither in the
// template nor in any content; marks[i] is "" for blank ones.
func mark(source string, msgs []Message) (marked []Message, marks []string) {
	taken := func(prefix string) bool {
		if strings.Contains(source, prefix) {
			return true
		}
		for _, m := range msgs {
			if strings.Contains(m.Content, prefix) {
				return true
			}
		}
		return false
	}
	// Private-use runes: no case to change, nothing to trim, nothing to split at.
	prefix := "\uE000"
	for n := 0; taken(prefix); n++ {
		prefix = fmt.Sprintf("\uE000%d\uE002", n)
	}
	marked, marks = make([]Message, len(msgs)), make([]string, len(msgs))
	for i, m := range msgs {
		marked[i] = m
		if strings.TrimSpace(m.Content) != "" {
			marks[i] = fmt.Sprintf("%s%d\uE001", prefix, i)
			marked[i].Content = marks[i]
		}
	}
	return marked, marks
}

// align finds the contents in plain, which is skeleton with every mark replaced
// by its content, whole or trimmed. false when it is anything else.
func align(plain, skeleton string, marks []string, msgs []Message) (Prompt, bool) {
	literals, order, ok := cut(skeleton, marks)
	if !ok || !strings.HasPrefix(plain, literals[0]) {
		return Prompt{}, false
	}
	p := Prompt{Text: plain}
	at := len(literals[0])
	for k, i := range order {
		content, next, found := msgs[i].Content, literals[k+1], false
		for _, c := range []string{content, strings.TrimSpace(content),
			strings.TrimLeft(content, " \t\r\n"), strings.TrimRight(content, " \t\r\n")} {
			if rest, ok := strings.CutPrefix(plain[at:], c); ok && strings.HasPrefix(rest, next) && (k+1 < len(order) || rest == next) {
				p.Content = append(p.Content, [2]int{at, at + len(c)})
				at += len(c) + len(next)
				found = true
				break
			}
		}
		if !found {
			return Prompt{}, false
		}
	}
	return p, at == len(plain)
}

// cut splits skeleton at the marks: literals[k], content of message order[k],
// literals[k+1]. false when part of a mark is left over.
func cut(skeleton string, marks []string) (literals []string, order []int, ok bool) {
	stem := ""
	byMark := map[string]int{}
	for i, m := range marks {
		if m != "" {
			byMark[m] = i
			stem = strings.TrimSuffix(m, fmt.Sprintf("%d\uE001", i))
		}
	}
	if stem == "" {
		return []string{skeleton}, nil, true
	}
	for {
		head, rest, found := strings.Cut(skeleton, stem)
		literals = append(literals, head)
		if !found {
			return literals, order, true
		}
		number, tail, closed := strings.Cut(rest, "\uE001")
		i, known := byMark[stem+number+"\uE001"]
		if !closed || !known {
			return nil, nil, false
		}
		order, skeleton = append(order, i), tail
	}
}
