package examples

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// fields are the columns of a CSV file and the keys of a JSON line.
var fields = []string{"question", "answer", "choices", "context"}

// fields are those that this file may have.
func (p *reader) fields() []string {
	if p.server {
		return append(slices.Clone(fields), "server")
	}
	return fields
}

// rows finds the format by the first line that is not blank, by the file's
// extension where that says nothing, and reads all rows.
func (p *reader) rows(data []byte) error {
	first, line := "", 0
	for l := range bytes.Lines(data) {
		line++
		if first = strings.TrimSpace(string(l)); first != "" {
			break
		}
	}
	ext := strings.ToLower(filepath.Ext(p.name))
	if first[0] == '[' && json.Valid(data) {
		return p.fail(line, errors.New("is one JSON array"), "put each object on a line of its own: jq -c '.[]' FILE")
	}
	if first[0] == '{' || ext == ".jsonl" || ext == ".ndjson" {
		return p.jsonLines(data)
	}
	if comma, ok := delimiter(first, ext); ok {
		return p.table(data, comma)
	}
	return p.lines(data)
}

// delimiter tells a table by its header: a known column beside others, or a
// header of nothing but "question". A misspelt header counts, so that it is
// reported rather than read as text.
func delimiter(header, ext string) (rune, bool) {
	best, hits := ',', 0
	for _, comma := range ",;\t" {
		n := 0
		cells := strings.Split(header, string(comma))
		for _, cell := range cells {
			cell = strings.ToLower(strings.Trim(cell, "\" \t"))
			if slices.ContainsFunc(fields, func(f string) bool {
				return cell == f || len(cells) > 1 && levenshtein.ComputeDistance(short(cell), f) <= 2
			}) {
				n++
			}
		}
		if n > hits {
			best, hits = comma, n
		}
	}
	if hits == 0 && ext == ".tsv" {
		best = '\t'
	}
	return best, hits > 0 || ext == ".csv" || ext == ".tsv"
}

// table reads CSV with a header.
func (p *reader) table(data []byte, comma rune) error {
	r := csv.NewReader(bytes.NewReader(data))
	r.Comma, r.FieldsPerRecord = comma, -1
	var header []string
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			line := 0
			var bad *csv.ParseError
			if errors.As(err, &bad) {
				err, line = bad.Err, bad.StartLine
			}
			return p.fail(line, err, `put texts that hold a comma, a quote or a line break in "double quotes" and double the quotes inside`)
		}
		line, _ := r.FieldPos(0)
		if header == nil {
			if header, err = p.header(record, line); err != nil {
				return err
			}
			continue
		}
		if strings.TrimSpace(strings.Join(record, "")) == "" {
			continue
		}
		if len(record) != len(header) {
			return p.fail(line, fmt.Errorf("%d fields, but the header has %d", len(record), len(header)), `put texts that hold a comma in "double quotes"`)
		}
		e := Example{Line: line}
		var choices []string
		for i, cell := range record {
			switch header[i] {
			case "question":
				e.Question = cell
			case "answer":
				e.Answer = cell
			case "context":
				e.Context = cell
			case "server":
				e.Server = cell
			case "choices":
				choices = SplitChoices(cell)
			}
		}
		if err := p.add(e, choices); err != nil {
			return err
		}
	}
}

// header checks the column names.
func (p *reader) header(record []string, line int) ([]string, error) {
	out := make([]string, len(record))
	for i, cell := range record {
		name := strings.ToLower(strings.TrimSpace(cell))
		if !slices.Contains(p.fields(), name) {
			return nil, p.fail(line, fmt.Errorf("unknown column %q", short(cell)),
				fmt.Sprintf("did you mean %q? The first line names the columns: question,answer[,choices][,context]", nearest(name, p.fields())))
		}
		if slices.Contains(out[:i], name) {
			return nil, p.fail(line, fmt.Errorf("column %q twice", name), "take one out")
		}
		out[i] = name
	}
	if !slices.Contains(out, "question") {
		return nil, p.fail(line, errors.New(`no column "question"`), "the first line names the columns: question,answer[,choices][,context]")
	}
	return out, nil
}

// SplitChoices is the choices of "a|b|c", nil for blank text.
func SplitChoices(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	return strings.Split(s, "|")
}

// lines reads one unlabelled question a line.
func (p *reader) lines(data []byte) error {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if text := strings.TrimSpace(string(line)); text != "" {
			if err := p.add(Example{Question: text, Line: n}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// jsonLines reads one object a line: the fields, or OpenAI messages.
func (p *reader) jsonLines(data []byte) error {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var row map[string]json.RawMessage
		if err := json.Unmarshal(line, &row); err != nil || row == nil {
			if err == nil {
				err = errors.New("is not a JSON object")
			}
			return p.fail(n, err, "one JSON object a line: jq -c . FILE")
		}
		e := Example{Line: n}
		if raw, ok := row["messages"]; ok && len(row) == 1 {
			if err := p.conversation(&e, raw); err != nil {
				return err
			}
			if err := p.add(e, nil); err != nil {
				return err
			}
			continue
		}
		choices, err := p.object(&e, row)
		if err != nil {
			return err
		}
		if err := p.add(e, choices); err != nil {
			return err
		}
	}
	return nil
}

// object reads the fields of one JSON line.
func (p *reader) object(e *Example, row map[string]json.RawMessage) (choices []string, err error) {
	names := make([]string, 0, len(row))
	for name := range row {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if string(row[name]) == "null" && slices.Contains(p.fields(), name) {
			continue
		}
		var to *string
		switch name {
		case "question":
			to = &e.Question
		case "answer":
			to = &e.Answer
		case "context":
			to = &e.Context
		case "server":
			if to = &e.Server; !p.server {
				return nil, p.unknown(e.Line, name)
			}
		case "choices":
			if choices, err = p.choices(e.Line, row[name]); err != nil {
				return nil, err
			}
			continue
		case "messages":
			return nil, p.fail(e.Line, errors.New("field messages stands beside others"), "give either messages alone, or question and answer")
		default:
			return nil, p.unknown(e.Line, name)
		}
		if err := json.Unmarshal(row[name], to); err != nil {
			return nil, p.fail(e.Line, fmt.Errorf("field %s is not text", name), "put its value in double quotes")
		}
	}
	return choices, nil
}

func (p *reader) unknown(line int, name string) error {
	return p.fail(line, fmt.Errorf("unknown field %q", short(name)), fmt.Sprintf("did you mean %q? Known fields: %s", nearest(name, p.fields()), strings.Join(p.fields(), ", ")))
}

// choices reads a JSON line's choices, an array of texts or "a|b|c".
func (p *reader) choices(line int, raw json.RawMessage) ([]string, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return SplitChoices(text), nil
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return nil, p.fail(line, errors.New("field choices is neither a list of texts nor a text"), `write ["a", "b"] or "a|b"`)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list, nil
}

// conversation reads OpenAI messages: the last user turn is the question, an
// assistant turn at the end the answer, and what came before the context.
func (p *reader) conversation(e *Example, raw json.RawMessage) error {
	var msgs []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(raw, &msgs); err != nil || len(msgs) == 0 {
		return p.fail(e.Line, errors.New("field messages is not a list of messages"), `write {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}`)
	}
	texts := make([]string, len(msgs))
	for i, m := range msgs {
		switch m.Role {
		case "system", "developer", "user", "assistant":
		default:
			return p.fail(e.Line, fmt.Errorf("message %d: role %q", i+1, short(m.Role)), "roles are system, user and assistant")
		}
		var err error
		if texts[i], err = contentText(m.Content); err != nil {
			return p.fail(e.Line, fmt.Errorf("message %d: %w", i+1, err), "only text can be learned from")
		}
	}
	last := len(msgs) - 1
	if msgs[last].Role == "assistant" {
		e.Answer = texts[last]
		last--
	}
	if last < 0 || msgs[last].Role != "user" {
		return p.fail(e.Line, errors.New("field messages: no user turn before the last answer"), "end with a user turn, or a user and an assistant turn")
	}
	e.Question = texts[last]
	var before []string
	for i, m := range msgs[:last] {
		switch text := strings.TrimSpace(texts[i]); {
		case text == "":
		case m.Role == "system" || m.Role == "developer":
			before = append(before, text)
		default:
			before = append(before, m.Role+": "+text)
		}
	}
	e.Context = strings.Join(before, "\n")
	return nil
}

// contentText is a message's content: a text, or OpenAI's list of text parts.
func contentText(raw json.RawMessage) (string, error) {
	var text string
	if len(raw) == 0 || json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var parts []struct{ Type, Text string }
	if json.Unmarshal(raw, &parts) != nil {
		return "", errors.New("content is neither a text nor a list of parts")
	}
	for _, part := range parts {
		if part.Type != "text" {
			return "", fmt.Errorf("content part of type %q", short(part.Type))
		}
		text += part.Text
	}
	return text, nil
}
