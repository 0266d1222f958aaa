package privacy

import (
	"fmt"
	"slices"
	"strings"
)

// Undo puts the private text back where a reply has its placeholders. It lives
// as long as the request: nothing of it is kept.
type Undo struct {
	marks  []string // placeholders
	values []string // what each stands for
}

// Redact puts a placeholder such as [MAIL_1] in the place of each finding; one
// text has one placeholder. What is still private then is an error.
func (s *Scanner) Redact(parts []Part) ([]Part, *Undo, error) {
	found, err := s.Scan(parts)
	if err != nil || len(found) == 0 {
		return parts, nil, err
	}
	u := &Undo{}
	out := slices.Clone(parts)
	byPart := make([][]labelled, len(parts))
	for _, m := range found {
		for _, x := range m.Spans {
			byPart[x.Part] = append(byPart[x.Part], labelled{x, m.Kind})
		}
	}
	taken := func(mark string) bool {
		return slices.ContainsFunc(parts, func(p Part) bool { return strings.Contains(p.Text, mark) })
	}
	for i, spans := range byPart {
		if len(spans) == 0 {
			continue
		}
		text := parts[i].Text
		var b strings.Builder
		last := 0
		for _, x := range union(spans) {
			b.WriteString(text[last:x.Start])
			b.WriteString(u.mark(x.kind, text[x.Start:x.End], taken))
			last = x.End
		}
		b.WriteString(text[last:])
		out[i].Text = b.String()
	}
	if found, err = s.Scan(out); err != nil {
		return nil, nil, err
	}
	if len(found) > 0 {
		return nil, nil, fmt.Errorf("%w: %s can't be redacted", ErrScan, strings.Join(KindsOf(found), ", "))
	}
	return out, u, nil
}

type labelled struct {
	Span
	kind string
}

// union joins overlapping spans.
func union(spans []labelled) []labelled {
	slices.SortStableFunc(spans, func(a, b labelled) int {
		if a.Start != b.Start {
			return a.Start - b.Start
		}
		return b.End - a.End
	})
	out := spans[:1]
	for _, x := range spans[1:] {
		if last := &out[len(out)-1]; x.Start < last.End {
			last.End = max(last.End, x.End)
			continue
		}
		out = append(out, x)
	}
	return out
}

func (u *Undo) mark(kind, value string, taken func(string) bool) string {
	if i := slices.Index(u.values, value); i >= 0 {
		return u.marks[i]
	}
	for n := 1; ; n++ {
		mark := fmt.Sprintf("[%s_%d]", strings.ToUpper(kind), n)
		if slices.Contains(u.marks, mark) || taken(mark) {
			continue
		}
		u.marks, u.values = append(u.marks, mark), append(u.values, value)
		return mark
	}
}

// Text is a whole reply with the private text back in.
func (u *Undo) Text(s string) string {
	if u == nil {
		return s
	}
	r := u.Stream()
	return r.Write(s) + r.Flush()
}

// Restorer is an Undo of a reply that comes in pieces.
type Restorer struct {
	undo *Undo
	held string // what may be the beginning of a placeholder
}

// Stream begins a reply.
func (u *Undo) Stream() *Restorer { return &Restorer{undo: u} }

// Write takes a piece and gives out what is certain by now.
func (r *Restorer) Write(piece string) string {
	if r.undo == nil {
		return piece
	}
	s := r.held + piece
	r.held = ""
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '[')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		if k := slices.IndexFunc(r.undo.marks, func(m string) bool { return strings.HasPrefix(s, m) }); k >= 0 {
			b.WriteString(r.undo.values[k])
			s = s[len(r.undo.marks[k]):]
			continue
		}
		if slices.ContainsFunc(r.undo.marks, func(m string) bool { return strings.HasPrefix(m, s) }) {
			r.held = s
			break
		}
		b.WriteByte('[')
		s = s[1:]
	}
	return b.String()
}

// Flush gives out what was held back, at the reply's end.
func (r *Restorer) Flush() string {
	s := r.held
	r.held = ""
	return s
}
