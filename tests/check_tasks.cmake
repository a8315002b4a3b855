# What is learned is a value: above the graph nothing but the classification task, its data and its
# networks names what only a classifier has.
cmake_minimum_required(VERSION 3.25)

set(words "classes|accuracy|top5|correct5|test_error|error_percent")
set(allowed
    "^nn/classification\\.(h|cpp)$" "^apps/[a-z0-9]+/main\\.cpp$"
    "^apps/images/"
    "^report/html/" # of the page's style sheet
)
set(failures 0)
foreach(folder IN ITEMS core nn quant timing experiment report apps)
  file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/${folder}/*.cpp ${ROOT}/${folder}/*.h)
  foreach(file IN LISTS files)
    set(skip OFF)
    foreach(pattern IN LISTS allowed)
      if(file MATCHES "${pattern}")
        set(skip ON)
      endif()
    endforeach()
    if(skip)
      continue()
    endif()
    file(STRINGS ${ROOT}/${file} lines REGEX "(^|[^A-Za-z0-9_])(${words})([^A-Za-z0-9_]|$)")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE "//.*" "" code "${line}")
      string(REGEX REPLACE "\"[^\"]*\"" "" code "${code}") # texts for people
      if(code MATCHES "(^|[^A-Za-z0-9_])(${words})([^A-Za-z0-9_]|$)")
        message("${file}: ${line}: a word of classification; Task and Metric say it for any task")
        math(EXPR failures "${failures} + 1")
      endif()
    endforeach()
  endforeach()
endforeach()
if(failures GREATER 0)
  message(FATAL_ERROR "${failures} lines")
endif()
