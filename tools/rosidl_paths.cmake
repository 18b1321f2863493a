# The PyPI wheels of ROS name include directories of their build machine (/opt/python/...). CMake refuses a
# target whose include directory does not exist, so drop those once everything is found: the real ones come with
# Python3::NumPy. Given to CMake as CMAKE_PROJECT_splatface_msgs_INCLUDE, by tools/setup.sh only.
function(splatface_drop_missing_includes)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target ${targets})
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT directories)
      continue()
    endif()
    set(kept "")
    foreach(directory ${directories})
      if(directory MATCHES "^\\$<" OR EXISTS "${directory}")
        list(APPEND kept "${directory}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endforeach()
endfunction()

cmake_language(DEFER CALL splatface_drop_missing_includes)
