//go:build !linux

package testkafka

import "syscall"

// endsWithParent promises nothing here: where the kernel cannot, Close has to be called.
func endsWithParent() *syscall.SysProcAttr { return nil }
