// Package qa reads question-answer data sets in one normal form: gzip JSON
// lines, one row a question, in <dataset>/<split>.jsonl.gz.
package qa

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of one row and one split; beyond them reading stops with an error.
const (
	MaxLine    = 1 << 20 // bytes of one JSON line
	MaxChoices = 1024    // answer choices of one row
	MaxRows    = 1 << 22 // rows of one split
	MaxBytes   = 1 << 31 // bytes of one split, decompressed
)

// Row is one question with its gold answer.
type Row struct {
	Dataset  string
	Subject  string // "" when the data set has none
	ID       string
	Question string
	Context  string   // "" when there is none
	Choices  []string // the gold once, no empty one; nil for a free-text answer
	Answer   int      // index into Choices; -1 for a free-text answer
	Text     string   // the free-text answer; "" when there are Choices
}

// Gold returns the text of the right answer.
func (r *Row) Gold() string {
	if len(r.Choices) == 0 {
		return r.Text
	}
	return r.Choices[r.Answer]
}

// Content identifies what a reader of the row sees: context, question and the
// set of choices, whatever their order. Two rows of one content are the same
// question under two names.
func (r *Row) Content() [sha256.Size]byte {
	choices := slices.Sorted(slices.Values(r.Choices))
	return digest(append([]string{r.Context, r.Question}, choices...)...)
}

// line is a row as it is written.
type line struct {
	Dataset  string          `json:"dataset"`
	Subject  *string         `json:"subject"`
	ID       string          `json:"id"`
	Question string          `json:"question"`
	Context  *string         `json:"context"`
	Choices  []string        `json:"choices"`
	Answer   json.RawMessage `json:"answer"`
}

// ParseRow reads one JSON line and checks it.
func ParseRow(data []byte) (Row, error) {
	var l line
	if len(data) > MaxLine {
		return Row{}, fmt.Errorf("line of %d bytes, at most %d are read", len(data), MaxLine)
	}
	if !utf8.Valid(data) {
		return Row{}, errors.New("not UTF-8")
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return Row{}, err
	}
	r := Row{Dataset: l.Dataset, ID: l.ID, Question: l.Question, Answer: -1}
	if l.Subject != nil {
		r.Subject = *l.Subject
	}
	if l.Context != nil {
		r.Context = *l.Context
	}
	if len(l.Answer) == 0 || bytes.Equal(l.Answer, []byte("null")) {
		return Row{}, errors.New("no answer")
	}
	if len(l.Choices) == 0 {
		if err := json.Unmarshal(l.Answer, &r.Text); err != nil {
			return Row{}, errors.New("answer must be a string where there are no choices")
		}
		return r, r.check()
	}
	if err := json.Unmarshal(l.Answer, &r.Answer); err != nil {
		return Row{}, errors.New("answer must be the index of a choice")
	}
	r.Choices = l.Choices
	return r, r.check()
}

// check refuses a row that lacks something or cannot be scored.
func (r *Row) check() error {
	switch {
	case r.Dataset == "":
		return errors.New("no dataset")
	case r.ID == "":
		return errors.New("no id")
	case strings.TrimSpace(r.Question) == "":
		return errors.New("no question")
	case len(r.Choices) > 0:
		return checkChoices(r.Choices, r.Answer)
	case strings.TrimSpace(r.Text) == "":
		return errors.New("no answer")
	}
	return nil
}

// checkChoices refuses what cannot be scored. Two equal wrong choices can.
func checkChoices(choices []string, answer int) error {
	if len(choices) < 2 {
		return errors.New("a single choice")
	}
	if len(choices) > MaxChoices {
		return fmt.Errorf("%d choices, at most %d are read", len(choices), MaxChoices)
	}
	if answer < 0 || answer >= len(choices) {
		return fmt.Errorf("answer %d of %d choices", answer, len(choices))
	}
	for i, c := range choices {
		if strings.TrimSpace(c) == "" {
			return errors.New("an empty choice")
		}
		if i != answer && c == choices[answer] {
			return fmt.Errorf("the gold %q is choice %d too", c, i)
		}
	}
	return nil
}

// digest hashes fields so that no two lists of fields collide by joining.
func digest(fields ...string) [sha256.Size]byte {
	var buf []byte
	for _, f := range fields {
		buf = binary.AppendUvarint(buf, uint64(len(f)))
		buf = append(buf, f...)
	}
	return sha256.Sum256(buf)
}
