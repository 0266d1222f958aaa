package strategy

import "context"

var base = Strategy{
	Name: "base", About: "the base model", Nominal: 1,
	Fit: func(context.Context, Engine, Task) (*Plan, error) { return fitted("base", Plan{}) },
}
