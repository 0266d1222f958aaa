package qa

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Map says which columns of a source make a row. A column is named by its path,
// such as choices.text: of a list, the field of each element is taken. Without
// any, the columns are those of the normal form.
type Map struct {
	Question string   `yaml:"question,omitempty"`
	Context  string   `yaml:"context,omitempty"`
	Subject  string   `yaml:"subject,omitempty"`
	ID       string   `yaml:"id,omitempty"`       // "": the split and the row's number
	Choices  Columns  `yaml:"choices,omitempty"`  // one column of a list, or several columns
	Keys     string   `yaml:"keys,omitempty"`     // column of a list that names the choices, for answer_is: key
	Labels   []string `yaml:"labels,omitempty"`   // the choices of every row
	Distinct bool     `yaml:"distinct,omitempty"` // the choices of every row are the answers that the data set has
	Answer   string   `yaml:"answer,omitempty"`
	AnswerIs string   `yaml:"answer_is,omitempty"` // index (from 0), number (from 1), letter, key or text; "": key with keys, index if it is a number, else text
}

// Columns are paths of columns; one may be written without a list.
type Columns []string

// UnmarshalYAML takes a text or a list of texts.
func (c *Columns) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*c = Columns{n.Value}
		return nil
	}
	return n.Decode((*[]string)(c))
}

var answerForms = []string{"", "index", "number", "letter", "key", "text"}

// plain says that there is no mapping.
func (m *Map) plain() bool {
	return m.Question == "" && m.Answer == "" && m.Context == "" && m.Subject == "" && m.ID == "" && m.Keys == "" && m.AnswerIs == "" &&
		!m.Distinct && len(m.Choices) == 0 && len(m.Labels) == 0
}

// normal is the mapping of the normal form.
var normal = Map{Question: "question", Context: "context", Subject: "subject", ID: "id", Choices: Columns{"choices"}, Answer: "answer"}

func (m *Map) check() error {
	if m.plain() {
		return nil
	}
	ways := 0
	for _, has := range []bool{len(m.Choices) > 0, len(m.Labels) > 0, m.Distinct} {
		if has {
			ways++
		}
	}
	switch {
	case m.Question == "":
		return errors.New("question: no column")
	case m.Answer == "":
		return errors.New("answer: no column")
	case ways > 1:
		return errors.New("choices, labels and distinct: only one of them")
	case !slices.Contains(answerForms, m.AnswerIs):
		return fmt.Errorf("answer_is: %q is none of index, number, letter, key, text", m.AnswerIs)
	case (m.AnswerIs == "key") && m.Keys == "":
		return errors.New("keys: no column, which answer_is: key needs")
	case m.Keys != "" && (len(m.Choices) == 0 || m.AnswerIs != "" && m.AnswerIs != "key"):
		return errors.New("keys: they name choices, and go with answer_is: key")
	case (m.Distinct || ways == 0) && m.AnswerIs != "" && m.AnswerIs != "text":
		return fmt.Errorf("answer_is: %s needs choices or labels", m.AnswerIs)
	case len(m.Labels) == 1 || len(m.Labels) > MaxChoices:
		return fmt.Errorf("labels: %d of them; 2 to %d", len(m.Labels), MaxChoices)
	case slices.Contains(m.Choices, ""):
		return errors.New("choices: a column without a name")
	}
	return nil
}

// record is one row of a source's file: text, json.Number, integers, float64,
// bool, nil, []any or map[string]any by column.
type record = map[string]any

// at finds the value of a column.
func at(rec record, column string) (any, bool) {
	if v, ok := rec[column]; ok {
		return v, true
	}
	return walk(rec, strings.Split(column, "."))
}

func walk(v any, steps []string) (any, bool) {
	if len(steps) == 0 {
		return v, true
	}
	switch v := v.(type) {
	case map[string]any:
		next, ok := v[steps[0]]
		if !ok {
			return nil, false
		}
		return walk(next, steps[1:])
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var ok bool
			if out[i], ok = walk(v[i], steps); !ok {
				return nil, false
			}
		}
		return out, true
	}
	return nil, false
}

// asText is a value as text; nil is "".
func asText(v any) (string, error) {
	var s string
	switch v := v.(type) {
	case nil:
	case string:
		s = v
	case []byte:
		s = string(v)
	case json.Number:
		s = v.String()
	case bool:
		s = strconv.FormatBool(v)
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		s = fmt.Sprint(v)
	case float32:
		s = strconv.FormatFloat(float64(v), 'g', -1, 32)
	case float64:
		s = strconv.FormatFloat(v, 'g', -1, 64)
	default:
		return "", errors.New("not one value but several")
	}
	if !utf8.ValidString(s) {
		return "", errors.New("not UTF-8")
	}
	return s, nil
}

// column is the text of a column; one that is missing is an error.
func column(rec record, key, name string) (string, error) {
	v, ok := at(rec, name)
	if !ok {
		return "", fmt.Errorf("%s: there is no column %q, only %s", key, name, shown(sortedSplits(rec)))
	}
	s, err := asText(v)
	if err != nil {
		return "", fmt.Errorf("%s: column %q: %w", key, name, err)
	}
	return s, nil
}

// list is the texts of a column of a list.
func list(rec record, key, name string) ([]string, error) {
	v, ok := at(rec, name)
	if !ok {
		return nil, fmt.Errorf("%s: there is no column %q, only %s", key, name, shown(sortedSplits(rec)))
	}
	if v == nil {
		return nil, nil
	}
	items, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: column %q is no list", key, name)
	}
	if len(items) > MaxChoices {
		return nil, fmt.Errorf("%s: %d values, at most %d are read", key, len(items), MaxChoices)
	}
	out := make([]string, len(items))
	for i := range items {
		var err error
		if out[i], err = asText(items[i]); err != nil {
			return nil, fmt.Errorf("%s: column %q: %w", key, name, err)
		}
	}
	return out, nil
}

// row makes a row of a record. Number is its place in the split, and its id
// where the mapping has none.
func (m *Map) row(dataset, id string, rec record) (Row, error) {
	r := Row{Dataset: dataset, ID: id, Answer: -1}
	for _, f := range []struct {
		key, name string
		to        *string
	}{{"question", m.Question, &r.Question}, {"context", m.Context, &r.Context}, {"subject", m.Subject, &r.Subject}, {"id", m.ID, &r.ID}} {
		if f.name == "" {
			continue
		}
		s, err := column(rec, f.key, f.name)
		if err != nil {
			return Row{}, err
		}
		*f.to = s
	}
	answer, ok := at(rec, m.Answer)
	if !ok {
		return Row{}, fmt.Errorf("answer: there is no column %q, only %s", m.Answer, shown(sortedSplits(rec)))
	}
	if answer == nil {
		return Row{}, errors.New("no answer")
	}
	var err error
	if r.Choices, err = m.choices(rec); err != nil {
		return Row{}, err
	}
	if len(r.Choices) == 0 {
		r.Choices = nil
		if r.Text, err = asText(answer); err != nil {
			return Row{}, fmt.Errorf("answer: %w", err)
		}
		return r, r.check()
	}
	var keys []string
	if m.Keys != "" {
		if keys, err = list(rec, "keys", m.Keys); err != nil {
			return Row{}, err
		}
	}
	if r.Answer, err = m.gold(answer, r.Choices, keys); err != nil {
		return Row{}, fmt.Errorf("answer: %w", err)
	}
	return r, r.check()
}

func (m *Map) choices(rec record) ([]string, error) {
	switch {
	case len(m.Labels) > 0:
		return slices.Clone(m.Labels), nil
	case len(m.Choices) == 1:
		return list(rec, "choices", m.Choices[0])
	}
	var out []string
	for _, name := range m.Choices {
		s, err := column(rec, "choices", name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// gold is the index of the right choice.
func (m *Map) gold(v any, choices, keys []string) (int, error) {
	form := m.AnswerIs
	if form == "" {
		form = defaultForm(v, keys)
	}
	if b, ok := v.(bool); ok && form == "index" {
		if b {
			return 1, nil
		}
		return 0, nil
	}
	s, err := asText(v)
	if err != nil {
		return 0, err
	}
	s = strings.TrimSpace(s)
	switch form {
	case "text":
		return place(choices, s, "choice")
	case "key":
		if len(keys) != len(choices) {
			return 0, fmt.Errorf("%d keys for %d choices", len(keys), len(choices))
		}
		return place(keys, s, "key")
	case "letter":
		if len(s) == 1 && s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z' {
			return int(s[0]|0x20) - 'a', nil
		}
		return 0, fmt.Errorf("%q is no letter", s)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > MaxChoices {
		return 0, fmt.Errorf("%q is no index of a choice", s)
	}
	if form == "number" {
		f--
	}
	return int(f), nil
}

func defaultForm(v any, keys []string) string {
	if keys != nil {
		return "key"
	}
	switch v.(type) {
	case string, []byte:
		return "text"
	}
	return "index"
}

func place(names []string, s, what string) (int, error) {
	at := -1
	for i, n := range names {
		if strings.TrimSpace(n) != s {
			continue
		}
		if at >= 0 {
			return 0, fmt.Errorf("%q is %s %d and %d", s, what, at, i)
		}
		at = i
	}
	if at < 0 {
		return 0, fmt.Errorf("%q is no %s", s, what)
	}
	return at, nil
}

// withColumns is the mapping without those optional columns of the normal form
// that a file lacks.
func (m Map) withColumns(rec record) Map {
	for _, f := range []*string{&m.Context, &m.Subject, &m.ID} {
		if _, ok := at(rec, *f); !ok {
			*f = ""
		}
	}
	if _, ok := at(rec, "choices"); !ok {
		m.Choices = nil
	}
	return m
}
