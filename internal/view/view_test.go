package view

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon"
)

func TestPrompts(t *testing.T) {
	many := new(crayon.Prompts)
	require.NoError(t, json.Unmarshal([]byte(`{"asks": 1, "tokens": 41, "in_prompt": [{"examples": 5, "tokens": 168.4}, {"examples": 16, "all": true, "tokens": 471}]}`), many))
	stack, bare := *many, *many
	stack.Asks, stack.Tokens = 3, 190
	bare.InPrompt = nil
	for want, c := range map[string]*crayon.Customisation{
		"": {},
		"prompt     41 tokens a question; with 5 examples in it 168 (4.1 times), with all 16 471 (11.5 times)\n":                                 {Prompts: many},
		"prompt     asks 3 prompts, 190 tokens a question; the base model with 5 examples 168 (0.9 times), with all 16 471 (2.5 times)\n":        {Prompts: &stack},
		"prompt     41 tokens a question, worked examples in it; the base model with 5 examples 168 (4.1 times), with all 16 471 (11.5 times)\n": {Prompts: many, Plan: &crayon.Plan{Shots: 4}},
		"prompt     41 tokens a question\n": {Prompts: &bare},
	} {
		var b strings.Builder
		Prompts(&b, c)
		require.Equal(t, want, b.String())
	}
}
