package bench

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"crayon/internal/fault"
)

// Record is one scored row: everything that the figures are made from.
type Record struct {
	Dataset  string `json:"dataset"`
	User     string `json:"user"`
	Subject  string `json:"subject,omitempty"`
	Group    Group  `json:"group"`
	ID       string `json:"id"`
	Constant bool   `json:"constant,omitempty"` // the user's question is one constant string
	Choices  int    `json:"choices"`
	Answer   int    `json:"answer"` // index of the gold choice
	// Picks is the chosen index by strategy; -1 for a blind guess, which
	// counts 1 / Choices.
	Picks map[string]int `json:"picks"`
	// Scores is the mean log-probability of each choice by strategy, rounded
	// to 1e-4; picks were made before rounding.
	Scores map[string][]float64 `json:"scores,omitempty"`
}

// guess is the pick of a strategy that knows nothing of the row.
const guess = -1

// credit is the expected number of right answers, 0 to 1.
func (r *Record) credit(strategy string) float64 {
	switch r.Picks[strategy] {
	case guess:
		return 1 / float64(r.Choices)
	case r.Answer:
		return 1
	}
	return 0
}

// WriteRaw writes records as gzip JSON lines. The bytes depend on the records
// alone.
func WriteRaw(w io.Writer, records []Record) error {
	zw, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(zw)
	for i := range records {
		if err := enc.Encode(&records[i]); err != nil {
			return &fault.Error{Op: "write raw rows", Err: err}
		}
	}
	if err := zw.Close(); err != nil {
		return &fault.Error{Op: "write raw rows", Err: err}
	}
	return nil
}

// Bounds of a raw file.
const (
	maxRawLine = 1 << 20 // bytes
	maxRawRows = 1 << 22
)

// ReadRaw reads what WriteRaw wrote, and checks each row; name is for errors.
func ReadRaw(name string, r io.Reader) ([]Record, error) {
	var out []Record
	fail := func(err error) ([]Record, error) {
		return nil, &fault.Error{Op: "read raw rows", Path: fmt.Sprintf("%s:%d", name, len(out)+1), Err: err,
			Hint: "run the benchmark again"}
	}
	zr, err := gzip.NewReader(r)
	if err != nil {
		return fail(err)
	}
	defer zr.Close()
	sc := bufio.NewScanner(zr)
	sc.Buffer(make([]byte, 0, 64<<10), maxRawLine)
	for sc.Scan() {
		var rec Record
		if err := json.Unmarshal(sc.Bytes(), &rec); err != nil {
			return fail(err)
		}
		if err := rec.check(out); err != nil {
			return fail(err)
		}
		out = append(out, rec)
	}
	if err := sc.Err(); err != nil {
		return fail(err)
	}
	if len(out) == 0 {
		return fail(errors.New("no row"))
	}
	return out, nil
}

func (r *Record) check(before []Record) error {
	switch {
	case len(before) >= maxRawRows:
		return fmt.Errorf("more than %d rows", maxRawRows)
	case r.Dataset == "" || r.User == "":
		return errors.New("no data set or user")
	case r.Choices < 2 || r.Answer < 0 || r.Answer >= r.Choices:
		return fmt.Errorf("answer %d of %d choices", r.Answer, r.Choices)
	case len(before) > 0 && len(r.Picks) != len(before[0].Picks):
		return errors.New("not the strategies of the first row")
	}
	for s, pick := range r.Picks {
		if pick < guess || pick >= r.Choices {
			return fmt.Errorf("%s picks %d of %d choices", s, pick, r.Choices)
		}
		if len(before) > 0 {
			if _, ok := before[0].Picks[s]; !ok {
				return fmt.Errorf("strategy %q is not in the first row", s)
			}
		}
	}
	return nil
}

// round keeps `digits` decimals.
func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}
