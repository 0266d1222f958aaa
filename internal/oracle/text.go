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

// qa is chat text written for this check: short and long answers, choices from
// lists, replies in a fixed form, code, numbers, other languages.
//
//go:embed testdata/qa.jsonl
var qa []byte

// Texts are the conversations of the check as token sequences in the ChatML
// form (https://github.com/openai/openai-python/blob/v0.28.1/chatml.md), which
// both model families were tuned on; at least MinTokens in all.
func Texts(t *tokenizer.Tokenizer) ([][]int32, error) {
	bad := func(err error) error { return &fault.Error{Op: "prepare the check's text", Path: "qa.jsonl", Err: err} }
	start, ok := t.ID("<|im_start|>")
	end, ok2 := t.ID("<|im_end|>")
	if !ok || !ok2 {
		return nil, bad(errors.New("the vocabulary has no <|im_start|> and <|im_end|>"))
	}
	var texts [][]int32
	total := 0
	for s := bufio.NewScanner(bytes.NewReader(qa)); s.Scan(); {
		var talk struct {
			Messages []struct{ Role, Content string }
		}
		if err := json.Unmarshal(s.Bytes(), &talk); err != nil {
			return nil, bad(err)
		}
		var ids []int32
		for _, m := range talk.Messages {
			ids = append(ids, start)
			ids = append(ids, t.Encode(m.Role+"\n"+m.Content)...)
			ids = append(ids, end)
			ids = append(ids, t.Encode("\n")...)
		}
		texts = append(texts, ids)
		total += len(ids)
	}
	if total < MinTokens {
		return nil, bad(fmt.Errorf("%d tokens, fewer than %d", total, MinTokens))
	}
	return texts, nil
}
