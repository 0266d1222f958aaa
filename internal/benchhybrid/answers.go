package benchhybrid

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"crayon/internal/fault"
	"crayon/internal/store"
)

// Answer is what a server said to one request.
type Answer struct {
	Key        string   `json:"key"` // see answerKey
	Text       string   `json:"text"`
	Top        []Likely `json:"top,omitempty"` // of the first token
	Seconds    float64  `json:"seconds"`
	Prompt     int64    `json:"prompt_tokens"`
	Completion int64    `json:"completion_tokens"`
}

// answerKey is the sha256, in hex, of a request's body and the model it is for.
func answerKey(body []byte, model string) string {
	h := sha256.New()
	h.Write(body)
	h.Write([]byte{0})
	io.WriteString(h, model)
	return hex.EncodeToString(h.Sum(nil))
}

// answers is a file of answers, a line of JSON each, added to as they come. A
// line that a crash cut short is dropped. One process at a time has it open.
type answers struct {
	path  string
	file  *os.File
	lock  *store.Held
	known map[string]*Answer
	fresh int // since the last sync
}

// mostAnswers bounds the file, in bytes.
const mostAnswers = 1 << 30

// syncEach is how many answers may be lost to a failure of power.
const syncEach = 64

func openAnswers(path string) (out *answers, err error) {
	fail := func(err error, hint string) error {
		return &fault.Error{Op: "read the server's answers", Path: path, Err: err, Hint: hint}
	}
	if err := store.MakeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	a := &answers{path: path, known: map[string]*Answer{}}
	if a.lock, err = store.TryLock(path + ".lock"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	data, err := store.ReadFile(path, mostAnswers)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	for line := range bytes.Lines(data[:whole]) {
		x := &Answer{}
		if err := json.Unmarshal(line, x); err != nil || len(x.Key) != 2*sha256.Size {
			return nil, fail(errors.New("a line is no answer"), "remove the line, or the file: what it held is asked again")
		}
		a.known[x.Key] = x
	}
	if a.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return nil, fail(err, "")
	}
	if err = a.file.Truncate(int64(whole)); err == nil {
		_, err = a.file.Seek(int64(whole), io.SeekStart)
	}
	if err != nil {
		return nil, fail(err, "")
	}
	return a, nil
}

// add keeps an answer.
func (a *answers) add(x *Answer) error {
	line, err := json.Marshal(x)
	if err == nil {
		_, err = a.file.Write(append(line, '\n'))
	}
	if a.fresh++; err == nil && a.fresh >= syncEach {
		a.fresh = 0
		err = a.file.Sync()
	}
	if err != nil {
		return &fault.Error{Op: "keep the server's answer", Path: a.path, Err: err}
	}
	a.known[x.Key] = x
	return nil
}

func (a *answers) close() error {
	var err error
	if a.file != nil {
		err = errors.Join(a.file.Sync(), a.file.Close())
	}
	return errors.Join(err, a.lock.Unlock())
}
