package oracle

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"crayon/internal/fault"
	"crayon/internal/tokenizer"
)

// MinTokens is the least number of positions that a figure counts for.
const MinTokens = 2000

// talks are chat text written for this check: short and long answers, choices from
// lists, replies in a fixed form, code, numbers, other languages.
//
//go:embed testdata/qa.jsonl
var talks []byte

// Texts are the conversations of the check as token sequences; at least
// MinTokens in all.
func Texts(t *tokenizer.Tokenizer) ([][]int32, error) {
	bad := func(err error) error { return &fault.Error{Op: "prepare the check's text", Path: "qa.jsonl", Err: err} }
	c, err := newChatML(t)
	if err != nil {
		return nil, bad(err)
	}
	var texts [][]int32
	total := 0
	for s := bufio.NewScanner(bytes.NewReader(talks)); s.Scan(); {
		var talk struct {
			Messages []struct{ Role, Content string }
		}
		if err := json.Unmarshal(s.Bytes(), &talk); err != nil {
			return nil, bad(err)
		}
		var ids []int32
		for _, m := range talk.Messages {
			ids = c.turn(ids, m.Role, m.Content)
		}
		texts = append(texts, ids)
		total += len(ids)
	}
	if total < MinTokens {
		return nil, bad(fmt.Errorf("%d tokens, fewer than %d", total, MinTokens))
	}
	return texts, nil
}

// chatML writes turns in the ChatML form, which both model families were tuned
// on (https://github.com/openai/openai-python/blob/v0.28.1/chatml.md).
type chatML struct {
	t          *tokenizer.Tokenizer
	start, end int32
}

func newChatML(t *tokenizer.Tokenizer) (chatML, error) {
	start, ok := t.ID("<|im_start|>")
	end, ok2 := t.ID("<|im_end|>")
	if !ok || !ok2 {
		return chatML{}, errors.New("the vocabulary has no <|im_start|> and <|im_end|>")
	}
	return chatML{t, start, end}, nil
}

// turn appends one message to ids.
func (c chatML) turn(ids []int32, role, content string) []int32 {
	ids = append(ids, c.start)
	ids = append(ids, c.t.Encode(role+"\n"+content)...)
	ids = append(ids, c.end)
	return append(ids, c.t.Encode("\n")...)
}
