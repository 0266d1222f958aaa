package record

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/store"
)

// Candidate is a question with the server's answer, in the form of an example
// file, so that what the user keeps of them is added by customize --add.
type Candidate struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
	Context  string `json:"context,omitempty"`

	Choices []string `json:"choices,omitempty"` // that the question was asked with
}

// Bounds of a file of candidates.
const (
	mostCandidates      = 500
	mostCandidateBytes  = 16 << 10                                      // question, context, answer and choices together
	mostCandidatesBytes = mostCandidates * (mostCandidateBytes*6 + 100) // JSON may write a byte as six
)

// CandidatesPath is where a customisation's candidates lie or would lie.
func (f *Folder) CandidatesPath(name string) string {
	return filepath.Join(f.dir, filepath.Base(name)+".candidates.jsonl")
}

// Candidates are those of a customisation, the oldest first.
func (f *Folder) Candidates(name string) ([]Candidate, error) {
	path := f.CandidatesPath(name)
	data, err := store.ReadFile(path, mostCandidatesBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Candidate
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var c Candidate
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, &fault.Error{Op: "read candidates", Path: fmt.Sprintf("%s:%d", path, n), Err: err, Hint: "delete the line", Exit: fault.ExitVerify}
		}
		out = append(out, c)
	}
	return out, lines.Err()
}

// AddCandidate keeps an answer, unless the question is there already; of too
// many the oldest goes. It says whether it was kept.
func (f *Folder) AddCandidate(name string, c Candidate) (bool, error) {
	if c.Question == "" || c.Answer == "" || len(c.Question)+len(c.Answer)+len(c.Context)+len(strings.Join(c.Choices, "")) > mostCandidateBytes {
		return false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	have, err := f.Candidates(name)
	if err != nil {
		return false, err
	}
	for _, h := range have {
		if h.Question == c.Question && h.Context == c.Context {
			return false, nil
		}
	}
	have = append(have, c)
	return true, f.PutCandidates(name, have[max(0, len(have)-mostCandidates):])
}

// PutCandidates replaces a customisation's candidates.
func (f *Folder) PutCandidates(name string, all []Candidate) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, c := range all {
		if err := enc.Encode(c); err != nil {
			return &fault.Error{Op: "store candidates", Path: name, Err: err}
		}
	}
	return store.WriteBytes(f.CandidatesPath(name), b.Bytes())
}
