package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/oracle"
	"crayon/internal/qa"
	"crayon/test/origin"
)

// perplexity is one run of the check.
type perplexity struct {
	data, model, levels, out string
	tokens                   int
	seed                     uint64
}

// result is what a run leaves behind.
type result struct {
	Date    time.Time             `json:"date"`
	Commit  string                `json:"commit"` // "-dirty" where the tree had changes; "" outside git
	Machine origin.Machine        `json:"machine"`
	Seconds float64               `json:"seconds"`
	Model   string                `json:"model"`
	Digest  string                `json:"digest"` // sha256 of the model's file
	Seed    uint64                `json:"seed"`
	Texts   int                   `json:"texts"`
	Tokens  int                   `json:"tokens"`
	Rows    map[string]int        `json:"rows"`    // used of each data set's evaluation split
	Allowed float64               `json:"allowed"` // difference either way
	Levels  []oracle.LevelFigures `json:"levels"`
}

func (p *perplexity) run(ctx context.Context, w io.Writer, threads int) (last string, err error) {
	start := time.Now()
	if p.data == "" {
		return "", &fault.Error{Op: "measure perplexity", Err: errors.New("no data folder is named"),
			Hint: "make perplexity DATA=DIR, or export CRAYON_DATA=DIR", Exit: fault.ExitUsage}
	}
	levels, err := parseLevels(p.levels)
	if err != nil {
		return "", err
	}
	data, err := qa.Open(p.data)
	if err != nil {
		return "", err
	}
	path, err := oracle.ModelPath(p.model)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", &fault.Error{Op: "measure perplexity", Path: path, Err: err, Hint: "crayon pull " + p.model}
	}
	s, err := oracle.OpenSubject(path, threads)
	if err != nil {
		return "", err
	}
	defer s.Close()
	passages, err := oracle.NewPassages(s.Tokenizer, data, p.tokens, p.seed)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(w, "%s: %d tokens in %d texts of %d data sets\n", p.model, passages.Tokens, len(passages.Texts), len(passages.Rows))
	figures, err := s.Perplexity(ctx, passages.Texts, levels, func(done int) {
		if done%10 == 0 {
			fmt.Fprintf(w, "  %d of %d texts, %.0f s\n", done, len(passages.Texts), time.Since(start).Seconds())
		}
	})
	if err != nil {
		return "", err
	}
	r := result{
		Date: start.UTC().Truncate(time.Second), Commit: origin.Commit(), Machine: origin.ThisMachine(), Seconds: time.Since(start).Round(time.Second / 10).Seconds(),
		Model: p.model, Seed: p.seed, Texts: len(passages.Texts), Tokens: passages.Tokens, Rows: passages.Rows,
		Allowed: oracle.MaxDifference, Levels: figures,
	}
	if r.Digest, err = gguf.Digest(path); err != nil {
		return "", err
	}
	file, err := r.write(p.out)
	if err != nil {
		return "", err
	}
	last = "perplexity: model=" + p.model
	for _, f := range figures {
		fmt.Fprintf(w, "%s %v\n", p.model, f)
		last += fmt.Sprintf(" %s=%+.3f%%", f.Level, 100*f.Difference)
		err = errors.Join(err, f.Miss(p.tokens))
	}
	fmt.Fprintln(w, file)
	return fmt.Sprintf("%s tokens=%d", last, r.Tokens), err
}

// parseLevels reads a list of kernel levels; "" is the one in use, "all" every
// one of this machine.
func parseLevels(list string) ([]kernel.Level, error) {
	switch list {
	case "":
		return []kernel.Level{kernel.Current()}, nil
	case "all":
		return kernel.Levels(), nil
	}
	var levels []kernel.Level
	for name := range strings.SplitSeq(list, ",") {
		l, err := kernel.ParseLevel(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		levels = append(levels, l)
	}
	return levels, nil
}

// write puts the result into dir as perplexity-MODEL-DATE-COMMIT.json and gives
// the path.
func (r *result) write(dir string) (string, error) {
	name := "perplexity-" + r.Model + "-" + r.Date.Format("20060102T150405Z")
	if r.Commit != "" {
		name += "-" + r.Commit
	}
	path := filepath.Join(dir, name+".json")
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", err
	}
	err = os.MkdirAll(dir, 0o755)
	if err == nil {
		err = atomicfile.Write(path, func(w io.Writer) error {
			_, err := w.Write(append(data, '\n'))
			return err
		})
	}
	if err != nil {
		return "", &fault.Error{Op: "write result", Path: path, Err: err, Hint: atomicfile.Hint(err, path)}
	}
	return path, nil
}
