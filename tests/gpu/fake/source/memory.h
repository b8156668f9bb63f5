// Which memory a pointer points to.
#pragma once

namespace fake {

bool on_device(const void* pointer);

}  // namespace fake
