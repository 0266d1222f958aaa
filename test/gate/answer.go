package main

import (
	"context"
	"errors"

	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/task"
)

// decodeTokens are the tokens of an answer over which decoding is counted.
const decodeTokens = 64

// decode counts the heap's use by a token of an answer, the prompt left out.
func (s *subject) decode(ctx context.Context) error {
	for _, under := range s.ways() {
		made := 0
		u, err := least(func(_ int, begin func()) error {
			prompt, err := s.device.Form.Prompt(s.question())
			if err != nil {
				return err
			}
			g, err := s.device.Start(device.Request{Prompt: prompt, Row: under.row, MaxTokens: decodeTokens + 1})
			if err != nil {
				return err
			}
			if _, _, err := g.Next(ctx); err != nil {
				return err
			}
			begin()
			for made = 0; ; made++ {
				if _, more, err := g.Next(ctx); err != nil || !more {
					return err
				}
			}
		})
		if err != nil {
			return err
		}
		if made < decodeTokens/2 {
			return &fault.Error{Op: "count the memory of an answer", Err: errors.New("the answer is too short")}
		}
		s.addUsage("decode."+under.name, "of a decoded token"+under.what, u, int64(made))
	}
	return nil
}

// score counts the heap's use by choosing one of four answers.
func (s *subject) score(ctx context.Context) error {
	u, err := least(func(_ int, begin func()) error {
		begin()
		return s.choose(ctx)
	})
	s.addUsage("score", "of a question with 4 choices", u, 1)
	return err
}

// scoreTokens counts the tokens that choosing computes.
func (s *subject) scoreTokens(ctx context.Context) error {
	before := s.device.Model.Computed()
	err := s.choose(ctx)
	s.add("score.tokens", "tokens computed for a question with 4 choices", s.device.Model.Computed()-before, exact)
	return err
}

func (s *subject) choose(ctx context.Context) error {
	prompt, err := s.device.Form.Prompt(task.Text(s.question(), "", answers))
	if err != nil {
		return err
	}
	_, err = s.device.Choose(ctx, device.Question{Prompt: prompt, Choices: answers, Row: s.row()})
	return err
}
