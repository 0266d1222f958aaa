// Package peer races Crayon's engine against llama.cpp on one machine. Each
// engine, as set up for one row of the table, is a child process of its own;
// while one works the others are stopped, the order alternates from repeat to
// repeat, and only ratios within a repeat count, because a shared machine's
// speed drifts.
package peer
