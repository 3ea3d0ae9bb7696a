//go:build !unix

package fuzz

import "errors"

func limitedRole() error { return errors.ErrUnsupported }
